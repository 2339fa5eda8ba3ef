#!/usr/bin/python3
"""How near the balancer of a real cluster comes to the ideal: total work / total speed, both measured in the same run.

    balance.py [--build DIR] [--repeat N] [--cpus A,B,C] [--seconds S] [--json | --markdown] [--strict]

Each repetition makes a cluster of three nodes (tests/cluster/balance.py) and starts everything on node 1: 24 CPU-bound
programs, half of them IA32, at once (makespan) and one after the other (staggered); the same work in programs of a third
of a second, eight at a time (short).  Prints the median of the ratios and their range.  Needs root, and two CPUs that
nobody else uses: what they take from a node counts as the balancer's mistake.  Exit: 0; 1 a row gave no figure, or with
--strict a goal was missed.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

import common

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOALS = {"makespan": 1.15, "staggered": 1.15, "short": 1.15}


def measure(args, case):
    with tempfile.TemporaryDirectory() as folder:
        results = pathlib.Path(folder) / "results.json"
        done = subprocess.run([ROOT / "tests/cluster/balance.py", args.build / "bin", args.build / "tests", case, "--cpus",
                               args.cpus, "--seconds", str(args.seconds), "--json", results], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, check=False)
        found = json.loads(results.read_text()).get(case) if results.exists() else None
    if found is None:
        raise common.Failed(f"{case}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--cpus", default="0.4,0.4,0.8", help="of each node")
    parser.add_argument("--seconds", type=float, default=1.2, help="CPU time of each process")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--strict", action="store_true")
    args = parser.parse_args()
    about, rows, wrong = common.machine(), [], False
    for case, goal in GOALS.items():
        try:
            found = [measure(args, case) for _ in range(args.repeat)]
        except common.Failed as f:
            print(f, file=sys.stderr)
            wrong = True
            continue
        ratios = [f["ratio"] for f in found]
        rows.append({"row": case, "ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios), "goal": goal,
                     "most_moves": max(f.get("most_moves", 0) for f in found)})
        wrong = wrong or args.strict and rows[-1]["ratio"] > goal
    if args.json:
        print(json.dumps({"machine": about, "rows": rows}, indent=1))
        return 1 if wrong else 0
    print(f"Time / ideal time on nodes of {args.cpus} CPUs, medians of {args.repeat}; {about}\n")
    print("| work | ratio | range | goal | most moves of one |\n|---|---|---|---|---|" if args.markdown else
          f"{'work':12}{'ratio':>8}{'range':>16}{'goal':>8}{'most moves':>12}")
    for r in rows:
        spread = f"{r['least']:.2f}-{r['most']:.2f}"
        print(f"| {r['row']} | {r['ratio']:.2f} | {spread} | {r['goal']} | {r['most_moves']} |" if args.markdown else
              f"{r['row']:12}{r['ratio']:8.2f}{spread:>16}{r['goal']:8}{r['most_moves']:12}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
