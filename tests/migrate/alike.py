#!/usr/bin/python3
"""alike.py BIN-FOLDER TESTS-FOLDER ENGINE

Pages that are like others cost no bandwidth, out and home, in every mode.  Needs root.
"""
import json
import subprocess
import sys

from failures import Failure, run_checks

PAGES, KINDS = 8192, 60  # of alike.c
MOST_BYTES = 2 << 20  # all of it is 32 MiB


def check(cluster, tests, engine):
    program = tests / "alike.64"
    native = subprocess.run([program], input="\n" * 7, capture_output=True, text=True, check=True).stdout.split()[1:]
    process = subprocess.Popen([cluster.vmm, "launch", "--engine", engine, "--", program], env=cluster.env, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True, bufsize=1)
    try:
        process.stdout.readline()
        said = []
        for mode in ("hybrid", "precopy", "postcopy"):
            for to in ("2", "home"):
                done = cluster.verb("migrate", str(process.pid), to, "--mode", mode, "--json")
                if done.returncode != 0:
                    raise Failure(f"migrate to {to} by {mode}: {done.stderr}")
                figures = json.loads(done.stdout)
                if not 0 < figures["bytes"] < MOST_BYTES:
                    raise Failure(f"to {to} by {mode}: {figures}")
                process.stdin.write("\n")
                said.append(process.stdout.readline().strip())
        process.stdin.close()
        if process.wait(20) != 0 or said != native[:len(said)]:
            raise Failure(f"it says {said}, natively {native}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(run_checks("alike", [check]))
