#!/usr/bin/python3
"""failures.py BIN-FOLDER TESTS-FOLDER [--driver udp|veth|memif] [--only BLOW]... [--verbose]

A cluster of three nodes in which moves are held at every point of their life (vmm/migrate/README.md, "Trials"), struck
there, and let go.  Before the switch a process must go on at home, after it at its destination; where that is gone it
must end as if killed and say why.  Never may two copies run, and nothing may be left.  Needs root.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

# Points: before the right to run has gone out, after it, and on the way home.
BEFORE = ["ask", "ready", "switch", "sent", "remote-init"]
AFTER = ["remote-mapped", "remote-run", "fill", "remote-filled", "away"]
RETURN = ["return", "recall", "drain", "remote-leave", "remote-drain", "remote-drained"]
POINTS = BEFORE + AFTER + RETURN
KINDS = ["kvm 64", "direct 64", "direct 32"]
# The blows, and what a process says that does not survive one.
REASONS = {
    "blip": None,
    "deputy": None,
    "remote": "the remote was ended by signal 9",
    "cut": "node {there} is lost",
    "freeze": "node {there} is lost",
    "destination": "node {there} is lost",
    "home": "the hpcd of its home node has ended",
}


class Failure(Exception):
    pass


def until(what, check, seconds=15.0, each=None):
    end = time.monotonic() + seconds
    while not (found := check()):
        if time.monotonic() > end:
            raise Failure(f"after {seconds:.0f} s still not: {what() if callable(what) else what}")
        each() if each else time.sleep(0.01)
    return found


def stat_of(pid):
    """(parent, start time) or None; a zombie is nobody."""
    try:
        words = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if words[0] in "ZX" else (int(words[1]), words[19])


class Cluster:
    def __init__(self, bins, tests, driver, work):
        self.vmm, self.driver, self.work = bins / "hpc-vmm", driver, work
        self.name = "f%d" % (os.getpid() % 1000000)
        self.run = pathlib.Path(f"/run/hpc-vmm-{self.name}")
        self.env = dict(os.environ, HPCVMM_CLUSTER=self.name, HPCVMM_HOLD=str(work / "hold"))
        shutil.copy(tests / "remote_on_hold", work / "remote")
        shutil.copy(self.vmm, work / "hpc-vmm")  # where the remote's user may read it
        self.daemons = {}

    def verb(self, *words):
        return subprocess.run([self.vmm, *words], env=self.env, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=60, check=False)

    def up(self):
        wire = ["--driver", "udp"] if self.driver == "udp" else ["--wire", self.driver]
        made = self.verb("up", "--nodes", "3", "--policy", "static", *wire, "--remote", str(self.work / "remote"))
        if made.returncode != 0 or "kernel UDP is used" in made.stderr:
            raise Failure(f"up: {made.stdout}{made.stderr}")
        self.daemons = {n: int((self.run / str(n) / "hpcd.pid").read_text().split()[0]) for n in (1, 2, 3)}

    def api(self, node, request):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.settimeout(10)
            s.connect(str(self.run / str(node) / "api.sock"))
            s.sendall(json.dumps(request).encode() + b"\n")
            answer = json.loads(s.makefile().readline())
        if not answer.get("ok"):
            raise Failure(f"node {node} refuses {request}: {answer}")

    def state(self, node, seen_by):
        try:
            nodes = json.loads(self.verb("nodes", "--json", "--node", str(seen_by)).stdout)["nodes"]
        except (ValueError, KeyError):
            return "unknown"
        return next(n["state"] for n in nodes if n["id"] == node)

    def link(self, node, state):
        if self.driver == "memif":  # shared memory has no link: that hpcd loses every packet, both ways
            self.api(node, {"op": "faults", "spec": "cut" if state == "down" else ""})
            return
        subprocess.run(["ip", "-n", f"hpcvmm-{self.name}-{node}", "link", "set", "eth0", state], check=True)

    def remotes(self):
        """{home pid: remote's pid} of all remotes ever, by the daemons' own words, and all of them."""
        latest, all_of = {}, set()
        for n in (1, 2, 3):
            log = (self.run / str(n) / "hpcd.log").read_text(errors="replace")
            for pid, home in re.findall(r"remote started pid=(\d+) home=\d+ home_pid=(\d+)", log):
                latest[int(home)] = int(pid)
                all_of.add(int(pid))
        return latest, all_of

    def where(self, pid):
        found = json.loads(self.verb("ps", "--json").stdout)["processes"]
        return next((p["where"] for p in found if p["pid"] == pid), None)


class Program:
    """One process, and the point its move is to be held at."""

    def __init__(self, cluster, tests, point, kind, stop):
        self.cluster, self.point, self.kind, self.move = cluster, point, kind, None
        engine, bits = kind.split()
        self.connection = None
        self.wrong = False
        self.output = cluster.work / f"{point}.out"
        self.errors = cluster.work / f"{point}.err"
        self.output.write_bytes(b"")
        with open(self.output, "ab") as out, open(self.errors, "wb") as err:
            self.process = subprocess.Popen(
                [cluster.vmm, "launch", "--engine", engine, "--", tests / f"steps.{bits}", stop], env=cluster.env,
                stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        self.pid = self.process.pid

    def migrate(self, to):
        self.move = subprocess.Popen([self.cluster.vmm, "migrate", str(self.pid), str(to)], env=self.cluster.env,
                                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                     stderr=open(self.cluster.work / f"{self.point}.move", "wb"))

    def steps(self):
        return self.output.read_bytes().count(b"\n")

    def said(self):
        return self.errors.read_text(errors="replace").strip()

    def check_output(self, finished):
        """Every number once and in order; with `finished`, the end and the sum, too."""
        lines = self.output.read_text().splitlines()
        end = lines.pop() if finished else None
        if lines != [str(i) for i in range(1, len(lines) + 1)]:
            wrong = next(i for i, line in enumerate(lines) if line != str(i + 1))
            raise Failure(f"line {wrong + 1} of its output is {lines[wrong]!r}")
        total = 0
        for i in range(1, len(lines) + 1):
            total = (total * 31 + i) & 0xFFFFFFFF
        if finished and end != f"done {len(lines)} {total}":
            raise Failure(f"it ends with {end!r}, not done {len(lines)} {total}")


class Round:
    """Programs held at every point, one blow, and what becomes of them."""

    def __init__(self, cluster, tests, blow, there):
        self.cluster, self.tests, self.blow, self.there = cluster, tests, blow, there
        self.stop = cluster.work / "stop"
        self.stop.unlink(missing_ok=True)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path = cluster.work / "hold"
        path.unlink(missing_ok=True)
        self.listener.bind(str(path))
        path.chmod(0o666)
        self.listener.listen(256)
        self.listener.settimeout(0.02)
        self.programs = []
        self.letting = False

    def hear(self):
        """One announcement: held if that is the point of that process's program, let go otherwise."""
        try:
            connection, _ = self.listener.accept()
        except TimeoutError:
            return
        connection.settimeout(5)
        point, pid = connection.recv(64).decode().split()
        pid = int(pid)
        if point.startswith("remote-"):
            homes = {remote: home for home, remote in self.cluster.remotes()[0].items()}
            pid = homes.get(pid)
        program = next((p for p in self.programs if p.pid == pid), None)
        if program is None or self.letting or program.point != point or program.connection is not None:
            connection.close()
            return
        program.connection = connection

    def pump(self, what, check, seconds=15.0):
        until(what, check, seconds, self.hear)

    def hold_all(self):
        for i, point in enumerate(POINTS):
            if point == "ask" and self.blow == "remote":
                continue  # there is none yet
            kind = KINDS[(i + list(REASONS).index(self.blow)) % len(KINDS)]
            self.programs.append(Program(self.cluster, self.tests, point, kind, self.stop))
        self.pump("all programs run", lambda: all(p.steps() > 2 for p in self.programs))
        for p in self.programs:
            p.migrate(self.there)
        returning = [p for p in self.programs if p.point in RETURN]
        try:
            self.pump("those who shall come back have gone", lambda: all(p.move.poll() == 0 for p in returning))
        except Failure as f:
            late = [p for p in returning if p.move.poll() != 0]
            raise Failure(f"{f}: " + "; ".join(f"{p.pid} ({p.kind}, {p.point}): " + (p.move.communicate()[1] or b"" if p.move.poll() is not None
                                               else b"migrate goes on").decode() for p in late)) from f
        for p in returning:
            p.migrate("home")
        missing = lambda: [p.point for p in self.programs if p.connection is None]  # noqa: E731
        self.pump(lambda: f"all are held, but {missing()}", lambda: not missing())
        # Whoever is not held does what it has to do, such as the remote of the one at drain.
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            self.hear()

    def strike(self):
        c, there = self.cluster, self.there
        if self.blow == "blip":
            c.link(there, "down")
            time.sleep(0.3)
            c.link(there, "up")
        elif self.blow == "remote":
            remotes = c.remotes()[0]
            for p in self.programs:
                os.kill(remotes[p.pid], signal.SIGKILL)
            until("remotes are gone", lambda: not any(stat_of(remotes[p.pid]) for p in self.programs))
            time.sleep(0.3)  # for the word to get home: until then it may be too late to turn back
        elif self.blow == "deputy":
            for p in self.programs:
                p.process.kill()
        elif self.blow == "cut":
            c.link(there, "down")
        elif self.blow == "freeze":
            os.kill(c.daemons[there], signal.SIGSTOP)
        elif self.blow == "destination":
            os.kill(c.daemons[there], signal.SIGKILL)
        elif self.blow == "home":
            os.kill(c.daemons[1], signal.SIGKILL)
            until("the other node sees it", lambda: c.state(1, there) == "down")
        if self.blow in ("cut", "freeze", "destination"):
            until("the home node sees it", lambda: c.state(there, 1) == "down")

    def let_go(self):
        self.letting = True
        for p in self.programs:
            p.connection.close()

    def goes_on(self, p):
        if self.blow == "blip":
            return True
        # At drain the mover is held, not the remote: every page is home long before the blow.
        return self.blow != "deputy" and p.point in [*BEFORE, "drain"]

    def judge(self, p):
        if not self.goes_on(p):
            self.pump("it has ended", lambda: p.process.poll() is not None, 8)
            if p.process.returncode != -signal.SIGKILL:
                raise Failure(f"it ended with {p.process.returncode}, not killed; it said {p.said()!r}")
            reason = (REASONS[self.blow] or "").format(there=self.there)
            if reason and (reason not in p.said() or "ending it" not in p.said()):
                raise Failure(f"it did not say that {reason}: {p.said()!r}")
            p.check_output(False)
            return
        if p.process.poll() is not None:
            raise Failure(f"it ended with {p.process.returncode}: {p.said()!r}")
        before = p.steps()
        self.pump("it goes on", lambda: p.steps() > before + 2 or p.process.poll() is not None, 8)
        if p.point == "away":  # it had arrived before the blow; whether migrate says so is not its concern
            p.move.wait(10)
        if self.blow == "home":
            return
        expected = self.there if self.blow == "blip" and p.point not in RETURN else 1
        self.pump("its move is over", lambda: p.move.poll() is not None, 15)
        if (p.move.returncode == 0) != (self.blow == "blip" or p.point == "drain"):
            raise Failure(f"migrate ended with {p.move.returncode}")
        if (where := self.cluster.where(p.pid)) != expected:
            raise Failure(f"it runs on node {where}, not {expected}")

    def finish(self, p):
        if not self.goes_on(p):
            return
        try:
            p.process.wait(15)
        except subprocess.TimeoutExpired:
            raise Failure("it does not end when it is told to") from None
        if p.process.returncode != 0:
            raise Failure(f"it ended with {p.process.returncode}: {p.said()!r}")
        p.check_output(True)

    def mend(self):
        if self.blow == "cut":
            self.cluster.link(self.there, "up")
        if self.blow == "freeze":
            os.kill(self.cluster.daemons[self.there], signal.SIGCONT)
        if self.blow in ("cut", "freeze"):
            until("the node is back", lambda: self.cluster.state(self.there, 1) == "up")

    def each(self, what, wrong):
        for p in self.programs:
            if p.wrong:
                continue
            try:
                what(p)
            except Failure as f:
                p.wrong = True
                wrong.append(f"{self.blow} at {p.point} ({p.kind}): {f}")

    def run(self):
        wrong = []
        began = time.monotonic()
        try:
            self.hold_all()
            self.strike()
            if self.blow == "home":  # nobody is there whom they could run for, held or not
                self.no_remotes(wrong, "the home's end")
            self.let_go()
            self.each(self.judge, wrong)
            self.mend()
            self.stop.touch()
            self.each(self.finish, wrong)
            self.no_remotes(wrong, "the end of all programs")
        except Failure as f:
            wrong.append(f"{self.blow}: {f}")
        finally:
            self.listener.close()
            for p in self.programs:
                if p.process.poll() is None:
                    p.process.kill()
                p.process.wait()
                if p.move and p.move.poll() is None:
                    p.move.kill()
        print(f"{self.blow:12} {len(self.programs)} programs held and struck, {len(wrong)} wrong, "
              f"{time.monotonic() - began:.1f} s", flush=True)
        return wrong

    def no_remotes(self, wrong, when):
        try:
            until(lambda: f"{[r for r in self.cluster.remotes()[1] if stat_of(r)]} of the remotes are gone after {when}",
                  lambda: not any(stat_of(r) for r in self.cluster.remotes()[1]), 5)
        except Failure as f:
            wrong.append(f"{self.blow}: {f}")


def belongings(work, name):
    """What a cluster and its processes may leave on this machine."""
    found = []
    for folder in ("/run", "/run/netns", "/dev/shm", "/dev/hugepages", "/var/run/dpdk", "/sys/fs/cgroup", "/tmp"):
        try:
            found += [f"{folder}/{e}" for e in os.listdir(folder) if name in e or (folder == "/dev/hugepages")]
        except FileNotFoundError:
            pass
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid() or stat_of(entry) is None:
            continue
        try:
            words = pathlib.Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            image = os.readlink(f"/proc/{entry}/exe")
        except OSError:
            continue
        if str(work) in words + image or f"hpc-vmm-{name}" in words:
            found.append(f"process {entry}: {words or image}")
    for line in pathlib.Path("/proc/net/unix").read_text().splitlines():
        if f"hpc-vmm-{name}" in line:
            found.append("socket " + line.split()[-1])
    return found


def run_checks(name, checks, env=None):
    """main() of a test over one cluster: BIN-FOLDER TESTS-FOLDER ENGINE as arguments, then each of
    `checks(cluster, tests, engine)`."""
    bins, tests = (pathlib.Path(a).resolve() for a in sys.argv[1:3])
    work = pathlib.Path(tempfile.mkdtemp(prefix=f"hpc-vmm-{name}-"))
    work.chmod(0o755)
    cluster = Cluster(bins, tests, "memif", work)
    cluster.env.update(env or {})
    wrong = None
    try:
        cluster.up()
        for check in checks:
            check(cluster, tests, sys.argv[3])
    except Failure as f:
        wrong = f
    finally:
        down = cluster.verb("down")
        shutil.rmtree(work)
    if down.returncode != 0:
        wrong = wrong or f"down: {down.stderr}"
    print(wrong or f"{name}: ok")
    return 1 if wrong else 0


def main():
    args = argparse.ArgumentParser()
    args.add_argument("bins", type=pathlib.Path)
    args.add_argument("tests", type=pathlib.Path)
    args.add_argument("--driver", choices=["udp", "veth", "memif"], default="veth")
    args.add_argument("--only", action="append")
    args.add_argument("--verbose", action="store_true")
    a = args.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="hpc-vmm-failures-"))
    work.chmod(0o755)
    cluster = Cluster(a.bins.resolve(), a.tests.resolve(), a.driver, work)
    # The last two take a node away for good.
    blows = [("blip", 2), ("remote", 2), ("deputy", 2), ("cut", 2), ("freeze", 2), ("destination", 2), ("home", 3)]
    wrong = []
    try:
        cluster.up()
        for blow, there in blows:
            if not a.only or blow in a.only:
                wrong += Round(cluster, a.tests.resolve(), blow, there).run()
        if wrong or a.verbose:
            for n in (1, 2, 3):
                print((cluster.run / str(n) / "hpcd.log").read_text(errors="replace")[-6000:])
    except Failure as f:
        wrong.append(str(f))
    finally:
        down = cluster.verb("down")
        if down.returncode != 0:
            wrong.append(f"down: {down.stderr}")
        shutil.rmtree(work)
    try:
        until(lambda: f"nothing is left but {belongings(work, cluster.name)}",
              lambda: not belongings(work, cluster.name), 5)
    except Failure as f:
        wrong.append(str(f))
    print("\n".join(wrong) or "failures: ok")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
