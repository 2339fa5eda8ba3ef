#!/usr/bin/python3
"""cuts.py HPC-VMM PATCHBAY STEPS ENGINE SEED COUNT

COUNT processes, each moved every 20 ms over a simulated link of its own that is bad and, at a moment that follows from
its seed (SEED, SEED + 1...), is cut.  A process that runs at home then, or has not left yet, goes on and ends well; any
other ends as if killed and says why.  Each writes every number once and in order; no remote is left.
"""
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

AT_ONCE = 4
STORM_MS = 20


class Trial:
    def __init__(self, vmm, bay, steps, engine, seed, work):
        self.seed = seed
        self.stop = work / f"stop.{seed}"
        self.home = 1000 + (os.getpid() * 37 + seed) % 60000
        self.folder = pathlib.Path(f"/run/hpc-vmm/{self.home}")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.cut_ms = random.Random(seed).randint(150, 900)
        self.bay = subprocess.Popen(
            [bay, self.folder / "vmm.sock", vmm, "--storm", str(STORM_MS), "--loss", "1%", "--reorder", "1%",
             "--delay", "50", "--seed", str(seed), "--cut", str(self.cut_ms)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        while not (self.folder / "vmm.sock").exists():
            if self.bay.poll() is not None:
                raise RuntimeError("patchbay: " + self.bay.stdout.read())
            time.sleep(0.005)
        self.guest = subprocess.Popen([vmm, "launch", "--home", str(self.home), "--engine", engine, "--", steps, self.stop],
                                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def children(self):
        return pathlib.Path(f"/proc/{self.bay.pid}/task/{self.bay.pid}/children").read_text().split()

    def result(self):
        """(survived, what is wrong or None)"""
        said = []
        while "link lost\n" not in said and (line := self.bay.stdout.readline()):
            said.append(line)
        time.sleep(0.5)
        end = time.monotonic() + 5
        while (left := self.children()) and time.monotonic() < end:
            time.sleep(0.01)
        self.stop.touch()
        try:
            out, err = self.guest.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.guest.kill()
            self.guest.communicate()
            return False, "it neither goes on nor ends"
        finally:
            self.bay.terminate()
            said += self.bay.communicate(timeout=20)[0].splitlines()
            shutil.rmtree(self.folder, ignore_errors=True)
        print(f"seed {self.seed}: cut after {self.cut_ms} ms, status {self.guest.returncode}, {said[-1]}; {said[-2]}; {err.strip()}")
        if left:
            return False, f"remotes are left after the cut: {left}"
        lines = out.splitlines()
        survived = self.guest.returncode != -signal.SIGKILL
        total = 0
        end = lines.pop() if survived else None
        for i in range(1, len(lines) + 1):
            total = (total * 31 + i) & 0xFFFFFFFF
        if lines != [str(i) for i in range(1, len(lines) + 1)]:
            return survived, "a step is lost, repeated or out of order"
        if survived and (self.guest.returncode != 0 or end != f"done {len(lines)} {total}"):
            return survived, f"it ended with {self.guest.returncode} and {end!r}"
        if not survived and "the link is lost; ending it" not in err:
            return survived, f"it was ended and said {err!r}"
        return survived, None


def main():
    vmm, bay, steps, engine, first, count = sys.argv[1:]
    work = pathlib.Path(tempfile.mkdtemp(prefix="hpc-vmm-cuts-"))
    survived, wrong = [], []
    seeds = list(range(int(first), int(first) + int(count)))
    for at in range(0, len(seeds), AT_ONCE):
        trials = [Trial(vmm, bay, steps, engine, seed, work) for seed in seeds[at:at + AT_ONCE]]
        for trial in trials:
            alive, problem = trial.result()
            survived.append(alive)
            if problem:
                wrong.append(f"seed {trial.seed}: {problem}")
    shutil.rmtree(work)
    print(f"{len(survived)} cuts, {sum(survived)} went on")
    if not any(survived) or all(survived):
        wrong.append("the cuts did not strike both at home and away: other seeds are needed")
    print("\n".join(wrong) or "cuts: ok")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
