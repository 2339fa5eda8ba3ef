#!/usr/bin/python3
"""The tools on a real cluster of three nodes.  run_tools.py CASE BIN"""
import fcntl
import json
import os
import pathlib
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time

CASE, BIN = sys.argv[1], pathlib.Path(sys.argv[2])
NAME = "toolst"
os.environ["HPCVMM_CLUSTER"] = NAME
RUN = pathlib.Path(f"/run/hpc-vmm-{NAME}")
SPIN = ["sh", "-c", "while :; do :; done"]
failures = []
started = []


def check(good, what):
    if not good:
        failures.append(what)


def run(*words, timeout=60, **more):
    return subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=timeout, check=False, **more)


def tool(*words, **more):
    return run(BIN / words[0], *words[1:], **more)


def launch(*words):
    child = subprocess.Popen([str(w) for w in words], stdin=subprocess.DEVNULL)
    started.append(child)
    return child.pid


def process(pid):
    for p in json.loads(tool("hpc-vmm", "ps", "--json").stdout)["processes"]:
        if p["pid"] == pid:
            return p
    return None


def wait_for(what, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.1)
    return False


def here(pid, node):
    return lambda: (process(pid) or {}).get("where") == node


def spinning():
    pid = launch(BIN / "hpc-vmm", "launch", "--", *SPIN)
    check(wait_for(lambda: process(pid) is not None), "the program does not register")
    return pid


def test_cluster():
    """top, mon, mps, mosctl and migrate show and do what is so."""
    pid = spinning()
    check(tool("migrate", pid, 2).returncode == 0, "migrate")
    check(here(pid, 2)(), "it has not moved")
    top = tool("hpc-vmm", "top", "--once").stdout
    row = [line.split() for line in top.splitlines() if line.split()[:1] == [str(pid)]]
    check(len(row) == 1 and row[0][2:4] == ["1", "2"] and row[0][-1] == "sh", f"top: {top}")
    check("3 of 3 nodes up" in top, top)
    check(all(len(line) <= 80 for line in top.splitlines()) and len(top.splitlines()) <= 24, "top --once fits 80x24")
    check(tool("mtop", "--once").returncode == 0, "mtop")
    mon = tool("mosmon", "-mt", "--once").stdout
    check(mon.startswith("MEMORY") and "Total: 3 nodes up" in mon, mon)
    mps = tool("mps", "-p", pid, "-o", "pid,stat").stdout.splitlines()
    check(mps[0].split()[:4] == ["NODE", "NMIGS", "LOCK", "PID"] and mps[1].split()[:2] == ["2", "1"], f"mps: {mps}")
    check(tool("mosctl", "isup", 3).stdout == "yes\n", "isup")
    check(tool("mosctl", "isup", 9).returncode == 1, "isup of nobody")
    check(tool("mosctl", "whois").stdout.split()[-1] == "#1", "whois")
    check(tool("mosctl", "whois", 2).stdout == "10.77.0.2\n", "whois 2")
    check(tool("migrate", pid, "home").returncode == 0 and here(pid, 1)(), "migrate home")
    gone = tool("migrate", 999999, 2)
    check(gone.returncode == 1 and "999999" in gone.stderr, "migrate of nobody")
    check(str(pid) in tool("hpc-vmm", "complete", "pids").stdout.split(), "complete pids")
    check(tool("hpc-vmm", "complete", "nodes").stdout.split() == ["1", "2", "3"], "complete nodes")
    check(tool("hpc-vmm", "top").returncode == 1, "top without a terminal")


def test_tree():
    """The mount that up made: read, written, guarded; gone after down, also when its server was killed."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        sys.exit(77)
    pid = spinning()
    tree = RUN / "1/proc"
    check(sorted(os.listdir(tree / "hpc/nodes")) == ["1", "2", "3"], "nodes")
    check((tree / "hpc/nodes/2/CPUs").read_text().strip().isdigit(), "CPUs")
    check(int((tree / "hpc/nodes/2/status").read_text()) & 2 == 2, "node 2 is up")
    check((tree / f"pid/{pid}/where").read_text() == "1\n", "where")
    run("sh", "-c", f"echo 3 > {tree}/pid/{pid}/goto")
    check(here(pid, 3)() and (tree / f"pid/{pid}/where").read_text() == "3\n", "goto 3")
    check(f"1:{pid} 1\n" in (RUN / "3/proc/hpc/remote/from").read_text(), "the guests of node 3")
    check((tree / f"pid/{pid}/nmigs").read_text() == "1\n", "nmigs")
    bad = run("sh", "-c", f"echo elsewhere > {tree}/pid/{pid}/goto")
    check(bad.returncode != 0, "a node that is none is taken")
    stranger = run("setpriv", "--reuid=65534", "--clear-groups", "sh", "-c", f"echo 0 > {tree}/pid/{pid}/goto")
    check(stranger.returncode != 0 and here(pid, 3)(), "a stranger moved it")
    check(run("setpriv", "--reuid=65534", "--clear-groups", "cat", tree / f"pid/{pid}/where").stdout == "3\n", "all may read")
    run("sh", "-c", f"echo 0 > {tree}/pid/{pid}/goto")
    check(here(pid, 1)(), "goto 0 is home")
    check(not (tree / "pid/1").exists(), "a process that is not the cluster's")
    server = int((RUN / "1/procfs.pid").read_text().split()[0])
    os.kill(server, signal.SIGKILL)
    check(tool("hpc-vmm", "down").returncode == 0, "down after a crash of the server")
    check(str(RUN) not in pathlib.Path("/proc/mounts").read_text(), "a mount is left")
    check(not RUN.exists(), "files are left")


def test_terminal():
    """top in a terminal of 80x24: shows, moves by key, is resized, ends."""
    pid = spinning()
    child, fd = pty.fork()
    if child == 0:
        os.environ["TERM"] = "vt100"
        os.execv(BIN / "hpc-vmm", ["hpc-vmm", "top", "--interval", "0.5"])
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    seen = bytearray()

    def hear(seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if select.select([fd], [], [], 0.1)[0]:
                try:
                    seen.extend(os.read(fd, 65536))
                except OSError:
                    return

    def shows(text, seconds=15):
        end = time.monotonic() + seconds
        while time.monotonic() < end and text.encode() not in seen:
            hear(0.2)
        return text.encode() in seen

    check(shows(str(pid)) and shows("ORDERS"), f"the first screen: {bytes(seen)[-2000:]!r}")
    os.write(fd, b"m2\r")
    check(shows("Move"), "it asks where to")
    end = time.monotonic() + 20
    while time.monotonic() < end and not here(pid, 2)():
        hear(0.2)
    check(here(pid, 2)(), "m2 has not moved it")
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 132, 0, 0))
    os.kill(child, signal.SIGWINCH)
    seen.clear()
    check(shows("ORDERS"), "it draws anew when it is resized")
    os.write(fd, b"k9\r")
    check(wait_for(lambda: (hear(0.1), process(pid) is None)[1]), "k9 has not ended it")
    os.write(fd, b"q")
    done, status, end = 0, 0, time.monotonic() + 10
    while done == 0 and time.monotonic() < end:
        hear(0.1)
        done, status = os.waitpid(child, os.WNOHANG)
    check(done == child and status == 0, f"q: {done} {status}")
    if done == 0:
        os.kill(child, signal.SIGKILL)
    os.close(fd)


def test_mosrun():
    """mosrun and its wrappers start programs where they say; the program's arguments and status are its own."""
    pid = launch(BIN / "mosrun", "-2", *SPIN)
    check(wait_for(here(pid, 2)), "mosrun -2")
    other = launch(BIN / "runon", "3", *SPIN)
    check(wait_for(here(other, 3)), "runon 3")
    got = tool("mosrun", "-9", "true")
    check(got.returncode == 125 and "node 9" in got.stderr, f"a node that is not there: {got}")
    check(tool("mosrun", "-9", "-F", "sh", "-c", "exit 7").returncode == 7, "-F, and the program's own status")
    got = tool("nomig", "-z", "sh", "zero", "-c", 'echo "$0"; cat /proc/self/cmdline | tr "\\0" " "')
    check(got.returncode == 0, f"-z: {got}")
    check(tool("cpujob", "echo", "-n", "-x").stdout == "-x", "options behind the program are its own")
    if "locked" in (process(pid) or {}):
        check(process(pid)["locked"] and process(pid)["run_on"] == 2, f"settings: {process(pid)}")
        soft = launch(BIN / "slowdecay", *SPIN)
        check(wait_for(lambda: process(soft) is not None), "slowdecay")
        p = process(soft)
        check(not p["locked"] and p["decay"] == "slow", f"settings: {p}")
        child = launch(BIN / "hpc-vmm", "launch", "--lock", "--kind", "io", "--except-nodes", "2-3", "sh", "-c",
                       "while :; do :; done & wait")
        check(wait_for(lambda: sum(q["parent"] == child for q in
                                   json.loads(tool("hpc-vmm", "ps", "--json").stdout)["processes"]) == 1), "its child")
        for q in json.loads(tool("hpc-vmm", "ps", "--json").stdout)["processes"]:
            if q["parent"] == child:
                check(q["locked"] and q["kind"] == "io" and q["mask"] == {"mode": "deny", "nodes": [2, 3]}, f"inherited: {q}")
                os.kill(q["pid"], signal.SIGKILL)


if os.geteuid() != 0:
    print("needs root")
    sys.exit(77)
tool("hpc-vmm", "down")
up = tool("hpc-vmm", "up", "--nodes", "3", timeout=120)
try:
    check(up.returncode == 0, f"up: {up.stderr}")
    for node in (1, 2, 3):  # nothing moves but what the test moves
        static = tool("hpc-vmm", "ctl", node, "policy=static")
        check(static.returncode == 0, f"ctl: {static.stderr}")
    if up.returncode == 0:
        {"cluster": test_cluster, "tree": test_tree, "terminal": test_terminal, "mosrun": test_mosrun}[CASE]()
finally:
    for one in started:
        one.kill()
        one.wait()
    tool("hpc-vmm", "down")
print("\n".join(failures) or "ok")
sys.exit(1 if failures else 0)
