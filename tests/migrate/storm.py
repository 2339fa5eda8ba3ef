#!/usr/bin/python3
"""storm.py HPC-VMM PATCHBAY ENGINE MS MIN_MOVES PROGRAM [ARGS...]

Runs PROGRAM natively, then under hpc-vmm while a patch bay moves it every MS milliseconds.  Fails on any difference in
output or status, and when fewer than MIN_MOVES moves were made.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import time


def main():
    vmm, bay, engine, ms, least, *program = sys.argv[1:]
    home = 1000 + os.getpid() % 60000
    folder = pathlib.Path(f"/run/hpc-vmm/{home}")
    folder.mkdir(parents=True, exist_ok=True)
    socket = folder / "vmm.sock"
    native = subprocess.run(program, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    patch = subprocess.Popen([bay, str(socket), vmm, "--storm", ms], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             text=True)
    try:
        for _ in range(500):
            if socket.exists():
                break
            time.sleep(0.01)
        guest = subprocess.run([vmm, "launch", "--home", str(home), "--engine", engine, "--", *program],
                               stdin=subprocess.DEVNULL, capture_output=True, timeout=150, check=False)
    finally:
        patch.terminate()
        said = patch.communicate(timeout=20)[0].splitlines()
        shutil.rmtree(folder, ignore_errors=True)
    moves = int(said[-1].split()[1])
    print(f"native {native.returncode}, {engine} {guest.returncode}, {moves} moves")
    print(guest.stdout.decode(errors="replace")[-300:], guest.stderr.decode(errors="replace")[-600:])
    same = (native.returncode, native.stdout, native.stderr) == (guest.returncode, guest.stdout, guest.stderr)
    return 0 if same and moves >= int(least) else 1


if __name__ == "__main__":
    sys.exit(main())
