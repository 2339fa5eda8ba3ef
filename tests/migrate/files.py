#!/usr/bin/python3
"""files.py BIN-FOLDER TESTS-FOLDER ENGINE

A process whose program is known at its destination, and one whose program is another there (one byte, writable by
others, missing), or has been replaced at home while it is mapped.  Its sums must be those of the program it is; the copy
at the destination must be used where it may be, and nowhere else.  Needs root.
"""
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from failures import Cluster, Failure, stat_of, until

MIDDLE = 0x9E3779B1 * 60000  # a word in the middle of the constants


class Program:
    def __init__(self, cluster, path, engine):
        self.cluster = cluster
        self.process = subprocess.Popen([cluster.vmm, "launch", "--engine", engine, "--", path], env=cluster.env,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid
        self.line()

    def line(self):
        return self.process.stdout.readline().strip()

    def sums(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.line()

    def move(self, to):
        done = self.cluster.verb("migrate", str(self.pid), str(to), "--json")
        if done.returncode != 0:
            raise Failure(f"migrate: {done.stdout}{done.stderr}")

    def end(self):
        self.process.stdin.close()
        if self.process.wait(20) != 0:
            raise Failure(f"it ended with {self.process.returncode}")


def native(path):
    done = subprocess.run([path], input="\n\n\n", capture_output=True, text=True, check=True)
    return done.stdout.split("\n")[1:4]


def given(cluster, node):
    """How often that node has handed out a copy."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.connect(str(cluster.run / str(node) / "api.sock"))
        s.sendall(b'{"op":"metrics"}\n')
        text = json.loads(s.makefile().readline())["metrics"]
    return int(float(re.search(r"^hpcd_files_given_total (\S+)$", text, re.M).group(1)))


def another_view(cluster, node, folder, make):
    """That node's hpcd again, in a mount namespace in which `folder` is what make(copy of it) leaves."""
    pid = cluster.daemons[node]
    os.kill(pid, 15)
    until("its hpcd has ended", lambda: stat_of(pid) is None)
    other = cluster.work / f"other{time.monotonic_ns()}"
    shutil.copytree(folder, other)
    make(other)
    script = 'mount --make-rprivate / && mount --bind "$0" "$1" && exec "$2" --config "$3"'
    log = open(cluster.run / str(node) / "hpcd.log", "ab")
    again = subprocess.Popen(
        ["nsenter", f"--net=/run/netns/hpcvmm-{cluster.name}-{node}", "unshare", "-m", "sh", "-c", script, other, folder,
         cluster.vmm.parent / "hpcd", cluster.run / str(node) / "hpcd.toml"], stdout=log, stderr=log,
        stdin=subprocess.DEVNULL)
    cluster.daemons[node] = again.pid
    wait_up(cluster, node)
    return again


def wait_up(cluster, node):
    until(f"node {node} is up again", lambda: cluster.state(1, node) == "up" and cluster.state(node, 1) == "up", 20)


def run(cluster, folder, engine, known_there, between=None):
    """One process, moved after both sides have had the time to look at its file."""
    path = folder / "filepages"
    wanted = native(path)
    for attempt in range(2):  # the first one makes the file known
        p = Program(cluster, path, engine)
        if between and attempt == 1:
            between(path)
        before = given(cluster, 2)
        got = []
        p.move(2)
        got.append(p.sums())
        p.move("home")
        got.append(p.sums())
        p.move(2)
        got.append(p.sums())
        after = given(cluster, 2)
        p.end()
        if got != wanted:
            raise Failure(f"attempt {attempt}: its sums are {got}, not {wanted}")
        time.sleep(0.5)
    if (after > before) != known_there:
        raise Failure(f"the copy on node 2 was {'' if after > before else 'not '}used")


def check(cluster, tests, engine):
    folder = cluster.work / "program"
    folder.mkdir()
    os.chmod(folder, 0o755)
    shutil.copy(tests / "filepages.64", folder / "filepages")
    os.chmod(folder / "filepages", 0o755)
    time.sleep(2.5)  # what has just been written is not believed to stay
    run(cluster, folder, engine, True)
    print("the same file: used", flush=True)

    def replace(path):
        data = bytearray(path.read_bytes())
        at = data.index(MIDDLE.to_bytes(8, "little"))
        data[at] ^= 1
        (folder / "new").write_bytes(data)
        os.chmod(folder / "new", 0o755)
        os.rename(folder / "new", path)

    run_replaced(cluster, folder, engine, replace)
    print("replaced at home while it is mapped: right", flush=True)

    def one_byte(other):
        data = bytearray((other / "filepages").read_bytes())
        at = data.index(MIDDLE.to_bytes(8, "little"))
        data[at] ^= 1
        (other / "filepages").write_bytes(data)

    cases = {
        "another byte there": one_byte,
        "writable by others there": lambda other: os.chmod(other / "filepages", 0o777),
        "missing there": lambda other: os.unlink(other / "filepages"),
    }
    shutil.copy(tests / "filepages.64", folder / "filepages")
    time.sleep(2.5)
    for name, make in cases.items():
        daemon = another_view(cluster, 2, folder, make)
        try:
            run(cluster, folder, engine, False)
        finally:
            daemon.terminate()
            daemon.wait(30)
            cluster.daemons[2] = 0
        print(f"{name}: not used", flush=True)
        restart(cluster)


def run_replaced(cluster, folder, engine, replace):
    """After the mapping was made and before the first move: neither the new file's content nor, once it is known, a
    proof for the path may be taken."""
    path = folder / "filepages"
    wanted = native(path)
    p = Program(cluster, path, engine)
    replace(path)
    if native(path) == wanted:
        raise Failure("the new program is not another one")
    time.sleep(2.5)
    new = Program(cluster, path, engine)  # makes the new one known
    new.move(2)
    new.sums()
    new.end()
    time.sleep(0.5)
    p.move(2)
    if (got := [p.sums(), p.sums()]) != wanted[:2]:
        raise Failure(f"its sums are {got}, not {wanted[:2]}")
    p.end()


def restart(cluster):
    """A node 2 for the next case, if another_view() is to end it."""
    with open(cluster.run / "2" / "hpcd.log", "ab") as log:
        again = subprocess.Popen(["nsenter", f"--net=/run/netns/hpcvmm-{cluster.name}-2", cluster.vmm.parent / "hpcd",
                                  "--config", cluster.run / "2" / "hpcd.toml"], stdout=log, stderr=log,
                                 stdin=subprocess.DEVNULL, start_new_session=True)
    cluster.daemons[2] = again.pid
    cluster.child = again
    wait_up(cluster, 2)


def main():
    bins, tests, engine = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
    if os.geteuid() != 0:
        sys.exit("needs root (network namespaces)")
    with tempfile.TemporaryDirectory(dir="/run") as work:
        os.chmod(work, 0o755)
        cluster = Cluster(bins, tests, "udp", pathlib.Path(work))
        cluster.env.pop("HPCVMM_HOLD")
        try:
            cluster.up()
            check(cluster, tests, engine)
        except Failure as e:
            print(f"FAILED: {e}", flush=True)
            for node in (1, 2):
                print((cluster.run / str(node) / "hpcd.log").read_text(errors="replace")[-2000:])
            return 1
        finally:
            child = getattr(cluster, "child", None)
            if child and child.poll() is None:
                child.terminate()
                child.wait(30)
            cluster.verb("down")
    return 0


if __name__ == "__main__":
    sys.exit(main())
