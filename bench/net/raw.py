#!/usr/bin/python3
"""What the datagram drivers and the kernel give between two nodes of this machine, with no transport above them.

    raw.py [--build DIR] [--rounds N] [--seconds S] [--only memif,af_packet,udp,tcp] [--json]

Two processes in two network namespaces joined by a veth pair (MTU 9000); every page is copied out of and into 64 MiB at
both ends.  The paths take turns, round by round; throughput is the best round, a round trip the lowest median, since what
disturbs a run only makes it worse.  Needs root.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
ADDRESSES = ["10.77.0.1:7000", "10.77.0.2:7000"]
PAGE = 4096


def run(*words):
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL)


class Lab:
    """Two namespaces and a folder, gone afterwards."""

    def __enter__(self):
        for name in os.listdir("/run/netns") if os.path.isdir("/run/netns") else []:
            found = re.fullmatch(r"hpcvmm-raw(\d+)-[01]", name)
            if found and not os.path.exists(f"/proc/{found[1]}"):
                subprocess.run(["ip", "netns", "del", name], check=False)
        self.folder = tempfile.mkdtemp(prefix="hpcvmm-raw-")
        self.spaces = [f"hpcvmm-raw{os.getpid()}-{side}" for side in (0, 1)]
        self.processes = []
        try:
            for space in self.spaces:
                run("ip", "netns", "add", space)
            run("ip", "link", "add", "wire", "netns", self.spaces[0], "type", "veth", "peer", "name", "wire", "netns",
                self.spaces[1])
            for side, space in enumerate(self.spaces):
                run("ip", "-n", space, "addr", "add", f"10.77.0.{side + 1}/24", "dev", "wire")
                run("ip", "-n", space, "link", "set", "wire", "mtu", "9000", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        for space in self.spaces:
            subprocess.run(["ip", "netns", "del", space], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def driver(self, path, side, frame):
        if path == "af_packet":
            return "net_af_packet0,iface=wire" + (f",framesz={frame}" if frame else "")
        if path != "memif":
            return path
        size = f",bsize={frame}" if frame else ""
        return (f"net_memif0,role={['server', 'client'][side]},socket={self.folder}/memif.sock,"
                f"peer=10.77.0.{2 - side}{size}")

    def start(self, binary, path, side, role, args, more=()):
        words = ["ip", "netns", "exec", self.spaces[side], "timeout", "-s", "KILL", str(args.seconds + 20), binary, "--driver",
                 self.driver(path, side, args.frame), "--local", ADDRESSES[side], "--peer", ADDRESSES[1 - side],
                 "--role", role, "--seconds", str(args.seconds), *more]
        if args.block_now:
            words.append("--block")
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.processes.append(process)
        return process

    def pair(self, binary, path, roles, args):
        """Figures of the passive end (side 0) and of the active one (side 1)."""
        passive = self.start(binary, path, 0, roles[0], args)
        time.sleep(0.6)
        active = self.start(binary, path, 1, roles[1], args)
        out = []
        for process in (passive, active):
            text = process.communicate(timeout=args.seconds + 30)[0]
            if process.returncode != 0:
                raise RuntimeError(f"{path} {roles}: an end failed ({process.returncode})")
            out.append(json.loads(text))
        return out


def measure(lab, binary, path, what, args):
    args.block_now = what == "rtt_block_us"
    if what == "one_way_gib_s":
        passive, active = lab.pair(binary, path, ("receive", "send"), args)
        seconds = max(passive["seconds"], 1e-9)
        cost = [end["cpu"] * end["seconds"] * 1e6 / max(end["pages"], 1) for end in (passive, active)]
        return {"value": passive["pages"] * PAGE / seconds / 2**30, "pages": passive["pages"],
                "lost": active["pages"] - passive["pages"], "cpu": [passive["cpu"], active["cpu"]], "cpu_us_per_page": cost}
    passive, active = lab.pair(binary, path, ("answer", "ask"), args)
    return {"value": active["median_us"], "pages": active["pages"], "lost": active["lost"],
            "cpu": [passive["cpu"], active["cpu"]]}


def best(what, rounds):
    return (max if what == "one_way_gib_s" else min)(rounds, key=lambda r: r["value"])


def print_table(result):
    print(f"{result['cpus']} CPUs, load {result['load']:.1f}, best of {result['rounds']} rounds of {result['seconds']} s")
    print("\n| path | one way, GiB/s | of TCP | CPU us a page, receiver + sender | page round trip, us: polling | blocking | lost |"
          "\n|---|---|---|---|---|---|---|")
    tcp = result["paths"].get("tcp", {}).get("one_way_gib_s", {}).get("value")
    for path, rows in result["paths"].items():
        one_way = rows["one_way_gib_s"]
        poll, block = rows.get("rtt_us"), rows.get("rtt_block_us")
        print(f"| {path} | {one_way['value']:.2f} | {one_way['value'] / tcp if tcp else 0:.2f} | "
              f"{one_way['cpu_us_per_page'][0]:.2f} + {one_way['cpu_us_per_page'][1]:.2f} | "
              f"{poll['value'] if poll else 0:.1f} | {block['value'] if block else 0:.1f} | "
              f"{sum(r['lost'] for r in rows.values() if r)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=str(ROOT / "build/release"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--only", default="memif,af_packet,udp,tcp")
    parser.add_argument("--frame", type=int, default=0, help="bsize= or framesz= of the DPDK ports")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    binary = str(pathlib.Path(args.build) / "bin/hpc-vmm-net-raw")
    if not os.path.exists(binary):
        sys.exit(f"raw.py: {binary} is missing: cmake --build --preset release --target hpc-vmm-net-raw")
    if os.geteuid() != 0:
        sys.exit("raw.py: needs root, for network namespaces")
    rounds = {}
    with Lab() as lab:
        for _ in range(args.rounds):
            for path in args.only.split(","):
                for what in ("one_way_gib_s", "rtt_us", "rtt_block_us"):
                    if path == "tcp" and what != "one_way_gib_s":
                        continue
                    rounds.setdefault(path, {}).setdefault(what, []).append(measure(lab, binary, path, what, args))
    result = {"cpus": os.cpu_count(), "load": os.getloadavg()[0], "rounds": args.rounds, "seconds": args.seconds,
              "paths": {path: {what: best(what, each) for what, each in rows.items()} for path, rows in rounds.items()}}
    if args.json:
        print(json.dumps(result, indent=1))
    else:
        print_table(result)


if __name__ == "__main__":
    main()
