#!/usr/bin/python3
"""The transport against the driver below it: pages one way and a page's round trip, in one run.

    transport.py [--build DIR] [--rounds N] [--seconds S] [--only memif,af_packet,udp] [--json]

As raw.py, whose namespaces, memory and figures these are: raw, plain and sealed take turns, round by round.  The goals are
those of one way: sealed at least 0.6, plain at least 0.85 of raw.  Needs root.
"""
import argparse
import json
import os
import pathlib
import sys

import raw

LAYERS = {"raw": ("hpc-vmm-net-raw", []), "plain": ("hpc-vmm-net-transport", ["--plain"]),
          "sealed": ("hpc-vmm-net-transport", [])}
GOALS = {"plain": 0.85, "sealed": 0.6}


class Words(raw.Lab):
    """Gives more words to each end."""

    words = []

    def start(self, binary, path, side, role, args):
        return super().start(binary, path, side, role, args, self.words)


def print_table(result):
    print(f"{result['cpus']} CPUs, load {result['load']:.1f}, best of {result['rounds']} rounds of {result['seconds']} s\n")
    print("| path | layer | one way, GiB/s | of raw (goal) | CPU us a page, receiver + sender | page round trip, us | of raw |"
          "\n|---|---|---|---|---|---|---|")
    for path, layers in result["paths"].items():
        for layer, rows in layers.items():
            one, trip = rows["one_way_gib_s"], rows["rtt_us"]
            base = layers["raw"]
            goal = f" ({GOALS[layer]})" if layer in GOALS else ""
            print(f"| {path} | {layer} | {one['value']:.2f} | {one['value'] / max(base['one_way_gib_s']['value'], 1e-9):.2f}{goal} | "
                  f"{one['cpu_us_per_page'][0]:.2f} + {one['cpu_us_per_page'][1]:.2f} | {trip['value']:.1f} | "
                  f"{trip['value'] / max(base['rtt_us']['value'], 1e-9):.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=str(raw.ROOT / "build/release"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--only", default="memif,af_packet,udp")
    parser.add_argument("--frame", type=int, default=0, help="bsize= or framesz= of the DPDK ports")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("transport.py: needs root, for network namespaces")
    rounds = {}
    with Words() as lab:
        for _ in range(args.rounds):
            for path in args.only.split(","):
                for layer, (name, words) in LAYERS.items():
                    binary = str(pathlib.Path(args.build) / "bin" / name)
                    if not os.path.exists(binary):
                        sys.exit(f"transport.py: {binary} is missing: cmake --build --preset release --target {name}")
                    lab.words = words
                    for what in ("one_way_gib_s", "rtt_us"):
                        figures = raw.measure(lab, binary, path, what, args)
                        rounds.setdefault(path, {}).setdefault(layer, {}).setdefault(what, []).append(figures)
    result = {"cpus": os.cpu_count(), "load": os.getloadavg()[0], "rounds": args.rounds, "seconds": args.seconds,
              "paths": {path: {layer: {what: raw.best(what, each) for what, each in rows.items()}
                               for layer, rows in layers.items()} for path, layers in rounds.items()}}
    if args.json:
        print(json.dumps(result, indent=1))
    else:
        print_table(result)


if __name__ == "__main__":
    main()
