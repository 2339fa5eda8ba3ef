#!/usr/bin/python3
"""presence.py BIN-FOLDER TESTS-FOLDER ENGINE

A process that runs on another node, as its home sees it: its command line and environment are there, SIGSTOP stops it
there and SIGCONT lets it go on, and a signal ends it.  Needs root.
"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

from failures import Failure, run_checks, stat_of, until

WORDS = ["60", "two words", ""]  # it would run for a minute


def cpu_of(pid):
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])


def state_of(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def check(cluster, tests, engine):
    program = str(tests / "storm_clock.64")
    process = subprocess.Popen([cluster.vmm, "launch", "--engine", engine, "--node", "2", "--", program, *WORDS],
                               env=dict(cluster.env, PRESENCE="here"), stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL)
    pid = process.pid
    try:
        until("it runs on node 2", lambda: cluster.where(pid) == 2)
        words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
        if [w.decode() for w in words] != [program, *WORDS]:
            raise Failure(f"its command line is {words}")
        if b"PRESENCE=here" not in pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            raise Failure("its environment is not there")
        remote = cluster.remotes()[0][pid]
        os.kill(pid, signal.SIGSTOP)
        until("its remote is stopped", lambda: state_of(remote) == "T", 5)
        before = cpu_of(remote)
        time.sleep(0.5)
        if cpu_of(remote) != before:
            raise Failure("it goes on while it is stopped")
        os.kill(pid, signal.SIGCONT)
        until("its remote runs again", lambda: cpu_of(remote) > before + 3, 5)
        os.kill(pid, signal.SIGTERM)
        if process.wait(10) != -signal.SIGTERM:
            raise Failure(f"it ended with {process.returncode}, not by SIGTERM")
        until("its remote is gone", lambda: stat_of(remote) is None, 5)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def cantmove_of(cluster, pid):
    found = json.loads(cluster.verb("ps", "--json").stdout)["processes"]
    return next((p["cantmove"] for p in found if p["pid"] == pid), None)


def check_mapped(cluster, tests, engine, file, why, share):
    """A file that is mapped to be written is named as long as it is, before anybody has tried to move the process."""
    process = subprocess.Popen([cluster.vmm, "launch", "--engine", engine, "--", tests / "shares.64", file],
                               env=dict(cluster.env, HPCVMM_SHARE=share), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        process.stdout.readline()
        until("ps says why", lambda: (cantmove_of(cluster, process.pid) or "").startswith(why), 5)
        process.stdin.write("\n")
        process.stdin.flush()
        process.stdout.readline()
        until("ps says nothing any more", lambda: cantmove_of(cluster, process.pid) == "", 5)
        if (done := cluster.verb("migrate", str(process.pid), "2")).returncode != 0:
            raise Failure(f"migrate: {done.stderr}")
        process.communicate("\n", timeout=10)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def check_cantmove(cluster, tests, engine):
    disk = pathlib.Path("/var/tmp") / f"hpc-vmm-presence-{cluster.name}"
    memory = pathlib.Path("/dev/shm") / disk.name
    try:
        for share in ("0", "1"):
            check_mapped(cluster, tests, engine, disk, f"shared memory mapping ({disk}, 64 KiB): a file that is written", share)
        check_mapped(cluster, tests, engine, memory, f"shared memory mapping ({memory}, 64 KiB): HPCVMM_SHARE=1", "0")
    finally:
        for file in (disk, memory):
            file.unlink(missing_ok=True)


SHARED = [  # kind, name, pages
    ("anonymous", "", 4), ("memfd", "ring", 8), ("posix", "/{name}", 12), ("sysv", "0x00000000", 16), ("file", "{disk}", 20)]


def shared_of(cluster, pid):
    """The mappings of a process as ps --json has them, and how many it says there are."""
    found = json.loads(cluster.verb("ps", "-v", "--json").stdout)["processes"]
    process = next((p for p in found if p["pid"] == pid), {})
    return process.get("shared", []), process.get("shared_total", 0)


def check_listed(cluster, tests, engine, share):
    """ps -v lists every shared mapping, and says of each whether it keeps the process at home."""
    disk = pathlib.Path("/var/tmp") / f"hpc-vmm-mappings-{cluster.name}"
    process = subprocess.Popen([cluster.vmm, "launch", "--engine", engine, "--", tests / "mappings.64", disk, disk.name],
                               env=dict(cluster.env, HPCVMM_SHARE=share), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        process.stdout.readline()
        until("all are listed", lambda: shared_of(cluster, process.pid)[1] == len(SHARED), 5)
        listed, _ = shared_of(cluster, process.pid)
        told = sorted((m["kind"], m["name"], m["bytes"] // 4096) for m in listed)
        wanted = sorted((kind, name.format(name=disk.name, disk=disk), pages) for kind, name, pages in SHARED)
        if told != wanted:
            raise Failure(f"ps -v lists {told}, not {wanted}")
        for m in listed:
            if m["coherent"] != (share == "1" and m["kind"] != "file") or m["coherent"] == bool(m.get("why")):
                raise Failure(f"with HPCVMM_SHARE={share} it says {m}")
        text = cluster.verb("ps", "-v").stdout
        if any(f"{m['begin']}-{m['end']}" not in text for m in listed) or "POSIX" not in text or "keeps it at home: " not in text:
            raise Failure(f"ps -v says {text}")
        process.stdin.write("\n")  # the file, which keeps it at home, goes; a hundred more come
        process.stdin.flush()
        process.stdout.readline()
        until("more are listed", lambda: shared_of(cluster, process.pid)[1] == len(SHARED) - 1 + 100, 5)
        listed, total = shared_of(cluster, process.pid)
        if len(listed) != 32 or f"and {total - 32} more" not in cluster.verb("ps", "-v").stdout:
            raise Failure(f"of {total} mappings {len(listed)} are listed")
        if share == "1":
            if (done := cluster.verb("migrate", str(process.pid), "2")).returncode != 0:
                raise Failure(f"coherent, but: {done.stderr}")
            if shared_of(cluster, process.pid)[1] != total:
                raise Failure("away its mappings are others")
        process.communicate("\n", timeout=20)
        if process.returncode != 0:
            raise Failure(f"it ended with {process.returncode}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for file in (disk, pathlib.Path("/dev/shm") / disk.name):
            file.unlink(missing_ok=True)


def check_mappings(cluster, tests, engine):
    for share in ("0", "1"):
        check_listed(cluster, tests, engine, share)


if __name__ == "__main__":
    sys.exit(run_checks("presence", [check, check_cantmove, check_mappings]))
