#!/usr/bin/python3
"""shared.py BIN-FOLDER TESTS-FOLDER ENGINE

Processes on different nodes that share memory: one that is stopped holds nobody up, what one has written is there when it
has been killed, and where a process that hpc-vmm does not run maps or opens it, too, everybody stays at home.  Needs root.
"""
import mmap
import os
import pathlib
import signal
import subprocess
import sys
import time

from failures import Failure, run_checks, until


class Keeper:
    def __init__(self, cluster, tests, engine, *words):
        self.cluster = cluster
        self.process = subprocess.Popen([cluster.vmm, "launch", "--engine", engine, "--", tests / "keeper.64", *words],
                                        env=cluster.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.child = int(self.process.stdout.readline().split()[1])
        until("the child is known", lambda: cluster.where(self.child) is not None, 20)

    def migrate(self, pid, node):
        return self.cluster.verb("migrate", str(pid), str(node))

    def look(self, command="l"):
        """(how far the child is, what is wrong)"""
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        words = self.process.stdout.readline().split()
        if not words:
            raise Failure(f"the parent has ended ({self.process.wait(5)})")
        return int(words[1]), int(words[3])

    def end(self):
        try:
            os.kill(self.child, signal.SIGKILL)
        except ProcessLookupError:
            pass
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def grows(keeper):
    before = keeper.look()[0]
    until("the parent sees what the child writes", lambda: keeper.look()[0] > before, 20)


def check(cluster, tests, engine):
    keeper = Keeper(cluster, tests, engine)
    try:
        for pid, node in ((keeper.child, 2), (keeper.process.pid, 3)):
            if (done := keeper.migrate(pid, node)).returncode != 0:
                raise Failure(f"migrate: {done.stderr}")
            grows(keeper)
        if [cluster.where(p) for p in (keeper.child, keeper.process.pid)] != [2, 3]:
            raise Failure("they are not where they were sent")
        os.kill(keeper.child, signal.SIGSTOP)
        time.sleep(0.3)
        began = time.monotonic()
        count = keeper.look()[0]
        if keeper.look()[0] != count or time.monotonic() - began > 10:
            raise Failure("a stopped child goes on, or holds its parent up")
        os.kill(keeper.child, signal.SIGCONT)
        grows(keeper)
        os.kill(keeper.child, signal.SIGKILL)
        count, wrong = keeper.look("w")
        if wrong != 0:
            raise Failure(f"{wrong} words of {count} are lost with the child")
        if (done := keeper.migrate(keeper.process.pid, "home")).returncode != 0:
            raise Failure(f"migrate home: {done.stderr}")
        if keeper.look("w") != (count, 0):
            raise Failure("something is lost on the way home")
    finally:
        keeper.end()


def check_outsider(cluster, tests, engine):
    """This process maps the file, too."""
    name = pathlib.Path(f"/dev/shm/hpc-vmm-test-{os.getpid()}")
    keeper = Keeper(cluster, tests, engine, name)
    try:
        with name.open("r+b") as file:
            mapped = mmap.mmap(file.fileno(), 4096)
        done = keeper.migrate(keeper.child, 2)
        if done.returncode == 0 or str(os.getpid()) not in done.stderr:
            raise Failure(f"shared with this process it moves: {done.stdout}{done.stderr}")
        mapped.close()
        if (done := keeper.migrate(keeper.child, 2)).returncode != 0:
            raise Failure(f"migrate: {done.stderr}")
        grows(keeper)
        # Whoever opens it now finds what has been written elsewhere, and nobody leaves while he has it.
        before = keeper.look()[0]
        with name.open("rb") as file:
            if (count := int.from_bytes(file.read(8), sys.byteorder)) < before:
                raise Failure(f"the file has {count}, the parent has seen {before}")
            until("the child comes home", lambda: cluster.where(keeper.child) == 1, 20)
            if keeper.migrate(keeper.child, 2).returncode == 0:
                raise Failure("it leaves while this process has the file open")
            grows(keeper)
        until("it may leave again", lambda: keeper.migrate(keeper.child, 2).returncode == 0, 20)
        grows(keeper)
    finally:
        keeper.end()
        name.unlink()


if __name__ == "__main__":
    sys.exit(run_checks("shared", [check, check_outsider], {"HPCVMM_SHARE": "1"}))
