"""What the rows share: the machine's clocks, workloads' output, results."""
import dataclasses
import pathlib
import re
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "net")]
from common import Failed, machine, number  # noqa: E402,F401  (found through the line above)

BUILD = None  # set by table.py


def program(name):
    path = BUILD / "bench" / "migrate" / name
    if not path.exists():
        raise Failed(f"{path} is missing: cmake --build {BUILD} --target bench-migrate")
    return str(path)


def output(words, timeout=120, **more):
    """stdout of a command that must succeed."""
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, **more)
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(words)}: no end after {timeout} s") from None
    if done.returncode != 0:
        raise Failed(f"{' '.join(words)}: status {done.returncode}: {(done.stderr or done.stdout).strip()[-400:]}")
    return done.stdout


def value(words, **more):
    found = re.findall(r"^VALUE ([0-9.]+)$", output(words, **more), re.M)
    if not found:
        raise Failed(f"{' '.join(words)}: printed no value")
    return float(found[-1])


class Tsc:
    """The time-stamp counter of this machine beside its CLOCK_MONOTONIC, now."""

    def __init__(self):
        words = output([program("tsc")]).split()
        self.count, self.at_ns, self.hertz = int(words[1]), float(words[2]), float(words[3])

    def ns(self, count):
        """CLOCK_MONOTONIC when the counter showed that."""
        return self.at_ns + (count - self.count) / self.hertz * 1e9


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


@dataclasses.dataclass
class Result:
    """A line of the table.  `measured` is what `goal` bounds: a ratio, a difference, or the value itself."""

    id: str
    what: str
    unit: str
    values: list
    base_what: str = ""
    bases: list = dataclasses.field(default_factory=list)
    relation: str = "ratio"  # to the base, pair by pair: "ratio" or "difference"
    goal: float | None = None
    note: str = ""

    @property
    def value(self):
        return statistics.median(self.values)

    @property
    def base(self):
        return statistics.median(self.bases) if self.bases else None

    @property
    def measured(self):
        if not self.bases:
            return self.value
        if len(self.bases) != len(self.values):
            raise Failed(f"{self.id}: {len(self.values)} values, {len(self.bases)} to compare with")
        if self.relation == "difference":
            return statistics.median(v - b for v, b in zip(self.values, self.bases))
        return statistics.median(v / b for v, b in zip(self.values, self.bases))

    @property
    def met(self):
        return None if self.goal is None else self.measured <= self.goal

    def as_json(self):
        return {"id": self.id, "what": self.what, "unit": self.unit, "value": self.value, "values": self.values,
                "against": self.base_what, "base": self.base, "bases": self.bases,
                "relation": self.relation if self.bases else "none", "measured": self.measured, "goal": self.goal,
                "met": self.met, "note": self.note}
