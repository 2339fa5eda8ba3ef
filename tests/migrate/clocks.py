#!/usr/bin/python3
"""clocks.py BIN-FOLDER TESTS-FOLDER ENGINE

A process keeps its clocks on nodes whose clocks are others: node 2's machine seems to have been started a day earlier,
node 3's a quarter of an hour later (time_namespaces(7)).  Needs root.
"""
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

from failures import Failure, run_checks, stat_of, until

DIFFERENCES = {2: 86400, 3: -900}  # seconds
RUN_S = 6


def start_anew(cluster, node, seconds):
    """node's hpcd, in a time namespace of its own."""
    pid, folder = cluster.daemons[node], cluster.run / str(node)
    os.kill(pid, signal.SIGTERM)
    until(f"node {node} has ended", lambda: stat_of(pid) is None)
    with open(folder / "hpcd.log", "ab") as log:
        child = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/hpcvmm-{cluster.name}-{node}", "unshare", "--time", "--monotonic", str(seconds), "--boottime",
             str(seconds), "--", cluster.vmm.with_name("hpcd"), "--config", folder / "hpcd.toml"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    started = stat_of(child.pid)[1]
    (folder / "hpcd.pid").write_text(f"{child.pid} {started}\n")
    cluster.daemons[node] = child.pid
    threading.Thread(target=child.wait, daemon=True).start()
    until(f"node {node} is up again", lambda: cluster.state(node, 1) == "up")
    offsets = pathlib.Path(f"/proc/{child.pid}/timens_offsets").read_text().split()
    if int(offsets[1]) != seconds:
        raise Failure(f"node {node} is not in a time of its own: {offsets}")


def check(cluster, tests, engine):
    for node, seconds in DIFFERENCES.items():
        start_anew(cluster, node, seconds)
    programs = [tests / "clocks_away.64"] + ([tests / "clocks_away.32"] if engine == "direct" else [])
    running = [subprocess.Popen([cluster.vmm, "launch", "--engine", engine, "--", p, str(RUN_S)], env=cluster.env,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) for p in programs]
    try:
        end, moves, at = time.monotonic() + RUN_S - 1, 0, 0
        while time.monotonic() < end:
            at += 1
            for process in running:
                done = cluster.verb("migrate", str(process.pid), ("2", "3", "home")[at % 3])
                moves += done.returncode == 0
            time.sleep(0.1)
        for process in running:
            out = process.communicate(timeout=30)[0]
            if process.returncode != 9 or out != "0\n":
                raise Failure(f"it ended with {process.returncode}: {out}")
        if moves < 6:
            raise Failure(f"it has moved only {moves} times")
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
                process.wait()


if __name__ == "__main__":
    sys.exit(run_checks("clocks", [check]))
