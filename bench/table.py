#!/usr/bin/python3
"""Measures the promises of spec.toml and prints the table.

table.py [--build DIR] [--hpc-vmm PATH] [--reps N] [--row REGEX]... [--json] [--markdown] [--strict] [--smoke]

Each repetition runs floor and guest one after the other, in turn first, so that a busy moment of the machine hits
both; the ratio is the median of the repetitions' ratios.  Exit: 0; 1 a row gave no number, or with --strict a goal
was missed; 77 there is no /dev/kvm.
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tomllib

from common import Failed, machine, number

HERE = pathlib.Path(__file__).resolve().parent
ZONE = (0x6A00_0000_0000, 0x6B00_0000_0000)  # include/hpcvmm/base/layout.hh
MIB = 1024.0  # in KiB


class Bench:
    def __init__(self, args):
        self.build, self.vmm, self.smoke = args.build, args.hpc_vmm, args.smoke
        self.environment = dict(os.environ, BENCH_SCALE="0.02" if args.smoke else "1")

    def path(self, word):
        if word == "HPC_VMM":
            return str(self.vmm)
        program = self.build / "bench" / word
        return str(program) if re.fullmatch(r"\w+\.(64|32)", word) else word

    def run(self, command, **environment):
        try:
            done = subprocess.run(command, env=dict(self.environment, **environment), capture_output=True,
                                  stdin=subprocess.DEVNULL, text=True, timeout=120)
        except subprocess.TimeoutExpired:
            raise Failed(f"{' '.join(command)}: no end after 120 s") from None
        if done.returncode != 0:
            raise Failed(f"{' '.join(command)}: status {done.returncode}: {(done.stderr or done.stdout)[-300:]}")
        return done.stdout

    def command(self, what):
        words = [self.path(w) for w in [what["program"], *what["args"]]]
        if "engine" in what:
            words = [str(self.vmm), "launch", "--engine", what["engine"], "--", *words]
        return words

    def value(self, what):
        """One figure, in microseconds."""
        if "bench" in what:
            command = " ".join(self.path(w) for w in what.get("command", []))
            out = self.run([str(self.build / "bin" / "hpc-vmm-bench"), f"--benchmark_filter=^{what['bench']}/",
                            "--benchmark_format=json"], HPCVMM_BENCH_COMMAND=command)
            result = json.loads(out)["benchmarks"]
            if not result or result[0].get("error_occurred"):
                raise Failed(f"{what['bench']}: {result[0].get('error_message') if result else 'no such benchmark'}")
            return result[0]["real_time"]
        out = self.run(self.command(what))
        values = re.findall(r"^VALUE ([0-9.]+)$", out, re.M)
        if not values:
            raise Failed(f"{' '.join(self.command(what))}: printed no value")
        return float(values[-1])

    def memory(self, what):
        """(KiB of the VMM, KiB that the promise allows) of a guest that holds still."""
        if self.smoke:
            what = dict(what, args=["1", what["args"][1]])
        guest = subprocess.Popen(self.command(what), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 env=self.environment, text=True)
        try:
            if guest.stdout.readline() != "READY\n":
                raise Failed(f"{' '.join(self.command(what))}: did not get ready")
            vmm = window = 0.0
            mine = False
            for line in open(f"/proc/{guest.pid}/smaps", encoding="ascii", errors="replace"):
                if head := re.match(r"([0-9a-f]+)-[0-9a-f]+ ", line):
                    mine = ZONE[0] <= int(head[1], 16) < ZONE[1]
                # Pss: pages of the executable that several deputies share are divided among them.
                elif line.startswith("Pss:"):
                    size = float(line.split()[1])
                    vmm, window = (vmm + size, window) if mine else (vmm, window + size)
        finally:
            guest.stdin.close()
            guest.wait(timeout=60)
        return vmm, 4 * MIB + 0.25 * MIB * (what["threads"] - 1) + 0.005 * window


def measure(bench, row, reps):
    guests, floors = [], []
    for i in range(reps):
        if "memory" in row:
            vmm, allowed = bench.memory(row["memory"])
            guests.append(vmm)
            floors.append(allowed)
            continue
        parts = [("guest", guests), ("floor", floors)]
        for key, found in parts if i % 2 else reversed(parts):
            if key in row:
                found.append(bench.value(row[key]))
    ratios = [g / f for g, f in zip(guests, floors)] if floors else guests
    result = {"id": row["id"], "what": row["what"], "unit": row["unit"], "goal": row["goal"],
              "absolute": row.get("absolute", False), "guest": statistics.median(guests),
              "floor": statistics.median(floors) if floors else None, "measured": statistics.median(ratios),
              "least": min(ratios), "most": max(ratios)}
    result["met"] = result["measured"] <= row["goal"]
    return result


def print_row(result, markdown):
    verdict = "met" if result["met"] else "MISSED"
    cells = [result["what"], number(result["guest"]), number(result["floor"]), result["unit"],
             number(result["measured"]), f"{number(result['least'])}-{number(result['most'])}", f"{result['goal']:g}", verdict]
    if markdown:
        print("| " + " | ".join(cells) + " |", flush=True)
    else:
        print("{:64} {:>9} {:>9} {:4} {:>7} {:>14} {:>5}  {}".format(*cells), flush=True)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=HERE.parent / "build" / "release")
    parser.add_argument("--hpc-vmm", type=pathlib.Path, help="default: bin/hpc-vmm of the build")
    parser.add_argument("--reps", type=int, default=7)
    parser.add_argument("--row", action="append", default=[], help="only rows whose id matches; may be repeated")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a goal is missed")
    parser.add_argument("--smoke", action="store_true", help="one short repetition: does every row give a number?")
    args = parser.parse_args()
    args.build = args.build.resolve()
    args.hpc_vmm = (args.hpc_vmm or args.build / "bin" / "hpc-vmm").resolve()
    args.reps = 1 if args.smoke else args.reps
    return args


def main():
    args = parse()
    if not os.path.exists("/dev/kvm"):
        print("skipped: there is no /dev/kvm on this machine")
        return 77
    if not args.hpc_vmm.exists():
        sys.exit(f"table.py: no {args.hpc_vmm}: build it with cmake --build --preset release, or give --hpc-vmm")
    with open(HERE / "spec.toml", "rb") as file:
        rows = [r for r in tomllib.load(file)["row"] if not args.row or any(re.search(x, r["id"]) for x in args.row)]
    bench, results, failed, host = Bench(args), [], [], machine()
    if args.markdown:
        print(f"{host}; median of {args.reps}.\n\n| what | guest | floor | unit | measured | range | at most | |")
        print("|---|---|---|---|---|---|---|---|")
    elif not args.json:
        print(f"{host}; median of {args.reps}\n")
        print("{:64} {:>9} {:>9} {:4} {:>7} {:>14} {:>5}".format("what", "guest", "floor", "unit", "ratio", "range", "max"))
    for row in rows:
        try:
            results.append(measure(bench, row, args.reps))
            if not args.json:
                print_row(results[-1], args.markdown)
        except Failed as reason:
            failed.append(row["id"])
            print(f"{row['id']}: no figure: {reason}", file=sys.stderr, flush=True)
    if args.json:
        print(json.dumps({"machine": host, "repetitions": args.reps, "rows": results, "failed": failed}, indent=1))
    missed = [r["id"] for r in results if not r["met"]]
    if not args.json and missed:
        print(f"\nmissed: {', '.join(missed)}")
    return 1 if failed or (args.strict and missed) else 0


if __name__ == "__main__":
    sys.exit(main())
