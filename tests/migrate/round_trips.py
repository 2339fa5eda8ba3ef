#!/usr/bin/python3
"""round_trips.py BIN-FOLDER PROGRAM-FOLDER ENGINE [--most RECORDS] [--vmm HPC-VMM]

What travels for a call of a process that is away: records that come home for one, by kind of call, for programs of both
ABIs. Fails when there are more than --most for each: a call whose data does not travel with it has its pages fetched.
And how often a program that only computes is stopped by a move there and back: once each way. Needs root.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import shutil
import time

# Kind of call, and how many calls that go home it makes.
KINDS = {"stat": 1, "fstat": 1, "llseek": 1, "lock": 1, "statfs": 1, "utimens": 2, "open": 2, "writev": 1, "readv": 1, "getdents": 2,
         "message": 2, "descriptor": 3, "poll": 1, "ppoll": 1, "select": 1, "epoll": 1, "option": 1}
# Memory that is made where the program runs: home is asked now and then for more room.
HERE = {("64", "break"), ("64", "mapping"), ("32", "break")}
MOST_HERE = 0.1
TIMES = 200
COMPUTES = "i=0; while [ $i -lt 8000000 ]; do i=$((i+1)); done"  # for some seconds, without a call
JOURNEYS = 6


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[1])
    parser.add_argument("bins", type=pathlib.Path)
    parser.add_argument("programs", type=pathlib.Path)
    parser.add_argument("engine")
    parser.add_argument("--most", type=float, default=2)
    o = parser.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="hpc-vmm-trips-"))
    work.chmod(0o755)
    name = "r%d" % (os.getpid() % 1000000)
    env = dict(os.environ, HPCVMM_CLUSTER=name)
    vmm = (o.bins / "hpc-vmm").resolve()
    # Where the remotes' user may read it.
    remote = work / "hpc-vmm"
    shutil.copy(vmm, remote)

    def verb(*words):
        return subprocess.run([vmm, *words], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90, check=False)

    def records():
        text = subprocess.run(["curl", "-s", "--unix-socket", f"/run/hpc-vmm-{name}/1/metrics.sock", "http://x/metrics"],
                              capture_output=True, text=True, timeout=20, check=True).stdout
        return sum(float(line.split()[1]) for line in text.splitlines() if line.startswith("hpcd_records_in_total "))

    def cost(program, kind, times):
        before = records()
        done = verb("launch", "--engine", o.engine, "--node", "2", "--", program, kind, str(times))
        if done.returncode != 0:
            raise RuntimeError(f"{program.name} {kind}: status {done.returncode} {done.stderr}")
        return records() - before

    def exits(journeys):
        """How often a program left the guest that computes and is moved away and back so often."""
        summary = work / "summary"
        report = ["--json", "--summary-file", summary]
        words = [vmm, "launch", "--engine", o.engine, *report, "--", "/bin/sh", "-c", COMPUTES]
        with subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL) as running:
            time.sleep(0.3)
            for _ in range(journeys):
                for to in ("2", "home"):
                    moved = verb("migrate", str(running.pid), to)
                    if moved.returncode != 0:
                        raise RuntimeError(f"migrate to {to}: {moved.stderr}")
        return json.loads(summary.read_text().splitlines()[0])["exits"]

    failed = 0
    try:
        up = verb("up", "--nodes", "2", "--policy", "static", "--remote", str(remote))
        if up.returncode != 0:
            raise RuntimeError(up.stderr)
        for bits in ("64", "32"):
            if o.engine == "kvm" and bits == "32":
                continue  # the C library's vector code does not run where KVM emulates 32-bit programs
            program = (o.programs / f"round_trips.{bits}").resolve()
            for kind, calls in KINDS.items():
                each = (cost(program, kind, 2 * TIMES) - cost(program, kind, TIMES)) / TIMES / calls
                bad = each > o.most
                failed += bad
                print(f"{bits} {kind:12} {each:6.2f} records home a call{'  TOO MANY' if bad else ''}", flush=True)
            for kind in (k for b, k in sorted(HERE) if b == bits):
                each = (cost(program, kind, 2 * TIMES) - cost(program, kind, TIMES)) / TIMES
                bad = each > MOST_HERE
                failed += bad
                print(f"{bits} {kind:12} {each:6.2f} records home a call{'  TOO MANY' if bad else ''}", flush=True)
        each = (exits(JOURNEYS) - exits(0)) / JOURNEYS
        bad = each > 3  # the stops are two; a fault may come on top
        failed += bad
        print(f"a move there and back: {each:.2f} exits{'  TOO MANY' if bad else ''}", flush=True)
    finally:
        verb("down")
        shutil.rmtree(work, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
