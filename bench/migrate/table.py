#!/usr/bin/python3
"""Moves programs between nodes of this machine and prints what it costs, beside floors and peers of the same run.

    table.py [--build DIR] [--rows REGEX]... [--repeat N] [--no-peers] [--json | --markdown] [--strict] [--tiny] [--list]

Starts a cluster of three nodes of its own, and ends it.  README.md says how each figure is defined.  Exit: 0; 1 a row
gave no figure, or with --strict a goal was missed.  Needs root, /dev/kvm, and for the peers packages.txt.
"""
import argparse
import contextlib
import json
import os
import pathlib
import re
import signal
import sys
import time

import measure
import rows_calls
import rows_moves
import rows_programs
from cluster import Cluster, Guest

ROWS = {"call": rows_calls.calls, "fault": rows_calls.fault, "downtime": rows_moves.downtime, "gap": rows_moves.gap,
        "total": rows_moves.total, "criu": rows_moves.lazy, "compute": rows_calls.compute, "redis": rows_programs.redis,
        "bash": rows_programs.bash, "openmp": rows_programs.openmp, "ia32": rows_programs.ia32}


class Context:
    """What a row needs: the cluster, how often, how large, and where its remarks go."""

    def __init__(self, args, cluster):
        self.cluster, self.repeat, self.tiny, self.peers = cluster, args.repeat, args.tiny, args.peers
        self.environment, self.remarks = dict(os.environ), []

    def remark(self, text):
        if text not in self.remarks:
            self.remarks.append(text)

    @contextlib.contextmanager
    def native(self, command, **more):
        process = Guest(self.cluster, command, **more)
        try:
            yield process
        finally:
            process.kill()


COLUMNS = "{:60} {:>9} {:3} {:>9} {:>8} {:>6}  {:6} {}"


def cells(result):
    relation = {"ratio": "x ", "difference": "+ "}[result.relation] if result.bases else ""
    bound = "" if result.goal is None else f"{result.goal:g}"
    met = "" if result.met is None else "met" if result.met else "MISSED"
    against = f"against {result.base_what}" if result.bases else ""
    return [result.what, measure.number(result.value), result.unit, measure.number(result.base),
            relation + measure.number(result.measured) if result.bases else "", bound, met,
            "; ".join(filter(None, (against, result.note)))]


def print_head(markdown, host, repeat):
    if markdown:
        print(f"{host}; median of {repeat}.\n\n| what | here | unit | floor or peer | measured | at most | | against; more |\n"
              "|---|---|---|---|---|---|---|---|", flush=True)
    else:
        print(f"{host}; median of {repeat}\n\n" +
              COLUMNS.format("what", "here", "", "other", "measured", "most", "", ""), flush=True)


def print_row(result, markdown):
    print("| " + " | ".join(cells(result)) + " |" if markdown else COLUMNS.format(*cells(result)).rstrip(), flush=True)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=measure.HERE.parent.parent / "build" / "release")
    parser.add_argument("--rows", action="append", default=[], metavar="REGEX", help="rows whose name matches; repeatable")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="neither QEMU nor CRIU")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a goal is missed")
    parser.add_argument("--tiny", action="store_true", help="smallest sizes, no peers: does every row give a figure?")
    parser.add_argument("--list", action="store_true", help="names of the rows")
    args = parser.parse_args()
    measure.BUILD = args.build.resolve()
    args.repeat = 1 if args.tiny else args.repeat
    args.peers &= not args.tiny
    args.names = [n for n in ROWS if not args.rows or any(re.search(x, n) for x in args.rows)]
    if not args.names:
        sys.exit(f"table.py: no row matches; there are {', '.join(ROWS)}")
    return args


def interrupted(number, _):
    raise KeyboardInterrupt(signal.Signals(number).name)


def measure_rows(args, show):
    """(results, remarks, {row: why it gave no figure})."""
    results, failed = [], {}
    with Cluster(measure.BUILD / "bin" / "hpc-vmm") as cluster:
        ctx = Context(args, cluster)
        for name in args.names:
            begin = time.monotonic()
            try:
                for result in ROWS[name](ctx):
                    results.append(result)
                    show(result)
            except (measure.Failed, OSError, RuntimeError) as reason:
                failed[name] = str(reason)
                print(f"{name}: no figure: {reason}", file=sys.stderr, flush=True)
            if os.environ.get("HPCVMM_BENCH_TIMES"):
                print(f"{name}: {time.monotonic() - begin:.1f} s", file=sys.stderr)
    return results, ctx.remarks, failed


def main():
    args = parse()
    if args.list:
        print("\n".join(ROWS))
        return 0
    if os.geteuid() != 0:
        sys.exit("table.py: needs root, for network namespaces")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    host = measure.machine()
    if not args.json:
        print_head(args.markdown, host, args.repeat)
    try:
        results, remarks, failed = measure_rows(args, (lambda _: None) if args.json else lambda r: print_row(r, args.markdown))
    except measure.Failed as reason:
        sys.exit(f"table.py: {reason}")
    except KeyboardInterrupt as reason:
        print(f"table.py: ended by {reason or 'SIGINT'}; the cluster is down", file=sys.stderr)
        return 130
    missed = [r.id for r in results if r.met is False]
    if args.json:
        print(json.dumps({"machine": host, "repetitions": args.repeat, "rows": [r.as_json() for r in results],
                          "remarks": remarks, "failed": failed}, indent=1))
    else:
        print("".join(f"\n{text}" for text in remarks) + (f"\n\nmissed: {', '.join(missed)}" if missed else ""))
    return 1 if failed or (args.strict and missed) else 0


if __name__ == "__main__":
    sys.exit(main())
