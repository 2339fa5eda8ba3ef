#!/usr/bin/python3
"""storm.py [--bay OPTIONS] [--at-calls N] [--most-failed N] HPC-VMM PATCHBAY ENGINE MS MIN_MOVES PROGRAM [ARGS...]

Runs PROGRAM natively, then under hpc-vmm while a patch bay (with OPTIONS) moves it every MS milliseconds, or, with MS 0
and --at-calls, while each of its processes moves at each of its first N system calls.  Fails on any difference in output
or status, and when fewer than MIN_MOVES moves were made, or more than --most-failed of them failed.
"""
import argparse
import difflib
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import time


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bay", default="", help="options of patchbay, in one word; a bad link without --seed gets a new one")
    parser.add_argument("--at-calls", type=int, default=0)
    parser.add_argument("--most-failed", type=int, help="default: any number")
    for name in ("vmm", "bay_program", "engine", "ms", "least"):
        parser.add_argument(name)
    parser.add_argument("program", nargs=argparse.REMAINDER)
    a = parser.parse_args()
    if a.bay and "--seed" not in a.bay:
        a.bay += f" --seed {os.getpid()}"
    return a


def main():
    a = arguments()
    home = 1000 + os.getpid() % 60000
    folder = pathlib.Path(f"/run/hpc-vmm/{home}")
    folder.mkdir(parents=True, exist_ok=True)
    socket = folder / "vmm.sock"
    environment = dict(os.environ, HPCVMM_SHARE="1")
    if a.at_calls:
        environment["HPCVMM_MOVE_AT_CALLS"] = str(a.at_calls)
    native = subprocess.run(a.program, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, env=environment,
                            check=False)
    patch = subprocess.Popen([a.bay_program, str(socket), a.vmm, "--storm", a.ms, *shlex.split(a.bay)],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        for _ in range(500):
            if socket.exists():
                break
            time.sleep(0.01)
        guest = subprocess.run([a.vmm, "launch", "--home", str(home), "--engine", a.engine, "--", *a.program],
                               stdin=subprocess.DEVNULL, capture_output=True, timeout=150, env=environment, check=False)
    finally:
        patch.terminate()
        said = patch.communicate(timeout=20)[0].splitlines()
        shutil.rmtree(folder, ignore_errors=True)
        print("\n".join(line for line in said if line.startswith(("patchbay", "link", "moves"))))
    # Moves that nobody asked for by message are known by what the processes said of themselves.
    moves = int(re.search(r"migrations (\d+)" if a.at_calls else r"moves (\d+)", said[-1]).group(1))
    print(f"native {native.returncode}, {a.engine} {guest.returncode}, {moves} moves")
    print(guest.stdout.decode(errors="replace")[-300:], guest.stderr.decode(errors="replace")[-600:])
    same = (native.returncode, native.stdout, native.stderr) == (guest.returncode, guest.stdout, guest.stderr)
    if not same:
        for which in ("stdout", "stderr"):
            one, other = (getattr(r, which).decode(errors="replace").splitlines() for r in (native, guest))
            print("\n".join(list(difflib.unified_diff(one, other, "native", a.engine, n=1, lineterm=""))[:60]))
    failed = 0 if a.at_calls else int(re.search(r"failed (\d+)", said[-1]).group(1))
    too_many = a.most_failed is not None and failed > a.most_failed
    return 0 if same and moves >= int(a.least) and not too_many else 1


if __name__ == "__main__":
    sys.exit(main())
