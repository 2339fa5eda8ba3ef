#!/usr/bin/python3
"""mixed.py BIN-FOLDER [--minutes M] [--at-once N] [--every MS] [--cycle S] [--kill] [--limit S] [--only NAME]... [--seed N]

Everything at once, on a cluster of three nodes with the balancer on: the workloads of mixed.toml, N at a time, each compared
with what it printed natively; a mover that sends a random process to a random node every MS milliseconds; a fourth node that
joins and leaves every S seconds, drained.  With --kill it is killed instead: workloads that had a process there may be lost,
no other.  Afterwards nothing may be left: no process, no shared memory, no namespace, and no hpcd may have grown.
A run that takes longer than --limit counts as stuck: what it was doing is printed and kept.  Needs root.
"""
import argparse
import collections
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent / "guest"))
import run_guest  # noqa: E402  (found through the line above)
import stuck  # noqa: E402

SOURCES = ROOT / "images" / "cache" / "sources"
VISITOR = 4  # the node that comes and goes; nobody's home
UNUSED_S = 60  # daemon/names: after so long without guests hpcd closes the files that it watches


def until(check, seconds, step=0.2):
    end = time.monotonic() + seconds
    while not (found := check()) and time.monotonic() < end:
        time.sleep(step)
    return found


class Cluster:
    def __init__(self, bins, work, name):
        self.work, self.name = work, name
        for program in ("hpc-vmm", "hpcd"):  # where the remotes' user may read them
            shutil.copy(bins / program, work / program)
        self.vmm = work / "hpc-vmm"
        self.run = pathlib.Path(f"/run/hpc-vmm-{name}")
        self.env = dict(os.environ, HPCVMM_CLUSTER=name)

    def verb(self, *words, timeout=90):
        return subprocess.run([self.vmm, *map(str, words)], env=self.env, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=timeout, check=False)

    def up(self):
        done = self.verb("up", "--nodes", VISITOR)
        if done.returncode != 0:
            raise RuntimeError(done.stdout + done.stderr)

    def ask(self, request, node=1, seconds=30.0):
        """The last answer of node's hpcd; {} where it does not answer."""
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(seconds)
                s.connect(str(self.run / str(node) / "api.sock"))
                s.sendall(json.dumps(request).encode() + b"\n")
                for line in s.makefile():
                    answer = json.loads(line)
                    if "ok" in answer:
                        return answer
        except (OSError, ValueError):
            pass
        return {}

    def processes(self):
        return self.ask({"op": "ps"}).get("processes", [])

    def nodes(self):
        return {n["id"]: n for n in self.ask({"op": "nodes"}).get("nodes", [])}

    def hpcd(self, node):
        return int((self.run / str(node) / "hpcd.pid").read_text().split()[0])

    def end_visitor(self, how):
        pid = self.hpcd(VISITOR)
        os.kill(pid, how)
        if not until(lambda: not pathlib.Path(f"/proc/{pid}/exe").exists(), 30):
            raise RuntimeError("the visitor's hpcd does not end")

    def start_visitor(self):
        folder = self.run / str(VISITOR)
        with open(folder / "hpcd.log", "ab") as log:
            child = subprocess.Popen(["nsenter", f"--net=/run/netns/hpcvmm-{self.name}-{VISITOR}", self.work / "hpcd", "--config",
                                      folder / "hpcd.toml"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        started = pathlib.Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
        (folder / "hpcd.pid").write_text(f"{child.pid} {started}\n")
        threading.Thread(target=child.wait, daemon=True).start()


def ours(work):
    """Processes of this cluster's executable: {pid: parent}."""
    found = {}
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and os.readlink(f"/proc/{entry}/exe") == str(work / "hpc-vmm"):
                found[int(entry)] = int(pathlib.Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            pass
    return found


def shared_memory():
    huge = re.search(r"HugePages_Free: *(\d+)", pathlib.Path("/proc/meminfo").read_text()).group(1)
    segments = len(pathlib.Path("/proc/sysvipc/shm").read_text().splitlines())
    return {"/dev/shm": sorted(os.listdir("/dev/shm")), "huge pages free": huge, "SysV segments": segments}


class Sizes:
    """What an hpcd holds: descriptors, memory of its own, memfds."""

    def __init__(self, pid):
        names = []
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                names.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
            except OSError:
                pass
        self.fds = len(names)
        self.kinds = collections.Counter(re.sub(r"[0-9]+", "N", n) for n in names)
        self.copies = sum("hpc-vmm-file" in n for n in names)
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        self.own_kib = int(re.search(r"RssAnon:\s+(\d+)", status).group(1))


class Mixed:
    def __init__(self, args, cluster, base):
        self.args, self.cluster, self.base = args, cluster, base
        self.random = random.Random(args.seed)
        self.lock = threading.Lock()
        self.stop = threading.Event()
        self.done, self.wrong = collections.Counter(), []
        self.lost, self.number, self.running = 0, 0, {}
        self.moves, self.refused, self.cycles = 0, collections.Counter(), 0
        self.there = {}  # session: when one of its processes was last seen on the visitor, or sent there
        self.killed_at = []
        self.seen = set()
        self.visitor_up = True
        self.environment = {"SRC": str(HERE / "src"), "SAMPLES": str(args.bins.resolve().parent / "samples"), "SOURCE": str(SOURCES / "mbedtls")}

    # --- workloads

    def prepare(self, workloads):
        """Inputs and what each prints natively."""
        subprocess.run([HERE / "fetch_source.sh", "mbedtls", SOURCES], check=True)
        self.expected = {}
        for w in workloads:
            inputs = self.base / "inputs" / w["name"]
            inputs.mkdir(parents=True)
            if "setup" in w:
                subprocess.run(["/bin/bash", "-ec", w["setup"]], cwd=inputs, check=True, env=dict(os.environ, **self.environment))
            result = self.run_in(self.base / "native" / w["name"], w, ["/bin/bash", "-ec", w["script"]], None)
            if result[0] != 0 or not result[1]:
                raise RuntimeError(f"{w['name']}, natively: ended with {result[0]}: {result[2].decode()[-400:]}")
            self.expected[w["name"]] = result[:2]

    def run_in(self, folder, workload, command, key):
        """(status, stdout, stderr) of a run in a session of its own; status None: it was stuck, and is ended."""
        folder.mkdir(parents=True)
        out, err = folder.with_suffix(".out"), folder.with_suffix(".err")
        environment = dict(run_guest.ENVIRONMENT, HPCVMM_CLUSTER=self.args.cluster, INPUT=str(self.base / "inputs" / workload["name"]),
                           **self.environment)
        with open(out, "wb") as o, open(err, "wb") as e:
            child = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=o, stderr=e, env=environment,
                                     start_new_session=True)
        if key is not None:
            with self.lock:
                self.running[key] = child.pid
        try:
            status = child.wait(self.args.limit)
        except subprocess.TimeoutExpired:
            status = None
            stuck.report(self.cluster, child.pid, folder.with_suffix(".stuck"))
        if status != 0:
            run_guest.end_session(child.pid)
        child.wait()
        return status, out.read_bytes(), err.read_bytes(), child.pid

    def worker(self, workloads):
        while not self.stop.is_set():
            with self.lock:
                if not self.once_each:
                    w = self.random.choice(workloads)
                elif not (w := self.once_each.pop() if self.once_each else None):
                    return
                self.number += 1
                number = self.number
                home = self.random.randrange(1, VISITOR)
            self.one(w, number, home)

    def one(self, w, number, home):
        folder = self.base / f"{number}.{w['name']}"
        launch = [self.cluster.vmm, "launch", "--home", str(home)]
        launch += ["--engine", w["engine"]] if "engine" in w else []
        begin = time.monotonic()
        status, out, err, session = self.run_in(folder, w, launch + ["--", "/bin/bash", "-ec", w["script"]], number)
        good = (status, out) == self.expected[w["name"]]
        with self.lock:
            self.running.pop(number, None)
            self.done[w["name"]] += 1
            if not good and status is not None and self.may_be_lost(session, err, begin):
                self.lost += 1
                good = True
            if not good:
                what = "STUCK" if status is None else f"ended with {status}"
                self.wrong.append(f"{folder.name} (home {home}): {what}; {folder}.out, .err")
                print("WRONG:", self.wrong[-1], "\n   ", err.decode(errors="replace")[-600:], flush=True)
        if good:
            shutil.rmtree(folder, ignore_errors=True)
            for suffix in (".out", ".err"):
                folder.with_suffix(suffix).unlink(missing_ok=True)

    def may_be_lost(self, session, err, begin):
        """Whether a node's death can have taken a process of it along."""
        if not any(at > begin for at in self.killed_at):
            return False
        return f"node {VISITOR} is lost".encode() in err or any(abs(self.there.get(session, 0.0) - at) < 3 for at in self.killed_at)

    # --- moves

    def mover(self):
        targets = [1, 2, 3]
        slots = threading.Semaphore(12)
        while not self.stop.wait(self.args.every / 1000):
            processes = self.cluster.processes()
            for p in processes:
                self.seen.add((p["home"], p["pid"]))
                if p["where"] == VISITOR:
                    self.note_there(p["pid"])
            movable = [p for p in processes if not p["cantmove"] and p["home"] in targets]
            if not movable or not slots.acquire(blocking=False):
                continue
            p = self.random.choice(movable)
            to = self.random.choice(targets + [VISITOR] * self.visitor_up)
            threading.Thread(target=self.move, args=(p, to, slots), daemon=True).start()

    def note_there(self, pid):
        try:
            self.there[os.getsid(pid)] = time.monotonic()
        except OSError:
            pass

    def move(self, p, to, slots):
        try:
            if to == VISITOR:
                self.note_there(p["pid"])
            answer = self.cluster.ask({"op": "migrate", "pid": p["pid"], "home": p["home"], "to": to}, node=p["home"], seconds=60)
            with self.lock:
                if answer.get("ok"):
                    self.moves += 1
                else:
                    why = answer.get("error", "no answer")
                    self.refused[re.sub(r"0x[0-9a-f]+|(?<=process )\d+", "N", why)] += 1
        finally:
            slots.release()

    # --- the fourth node

    def visits(self):
        while not self.stop.wait(self.args.cycle):
            self.visitor_up = False
            if self.args.kill:
                self.killed_at.append(time.monotonic())
                self.cluster.end_visitor(signal.SIGKILL)
            else:
                drained = self.cluster.verb("drain", VISITOR, "--node", VISITOR, timeout=120)
                # What ps says of a process is what its home has heard last.
                def left():
                    return [(p["home"], p["pid"], p["comm"], p["cantmove"]) for p in self.cluster.processes() if p["where"] == VISITOR]
                if drained.returncode != 0 or not until(lambda: not left(), 5):
                    with self.lock:
                        self.wrong.append(f"drain of node {VISITOR}: {drained.returncode} {drained.stderr} {left()}")
                        print("WRONG:", self.wrong[-1], flush=True)
                self.cluster.end_visitor(signal.SIGTERM)
            self.stop.wait(min(4.0, self.args.cycle / 4))
            self.cluster.start_visitor()
            # It remembers that it was drained.
            until(lambda: self.cluster.nodes().get(VISITOR, {}).get("state") in ("up", "draining"), 20)
            self.cluster.verb("resume", VISITOR, "--node", VISITOR)
            if not until(lambda: self.cluster.nodes().get(VISITOR, {}).get("state") == "up", 20):
                self.wrong.append("the fourth node does not join again")
                print("WRONG:", self.wrong[-1], flush=True)
            self.visitor_up = True
            self.cycles += 1

    # --- all of it

    def load(self, workloads, seconds):
        """For so long; 0: each workload once, without moves by force."""
        self.stop.clear()
        self.once_each = list(workloads) if seconds == 0 else []
        if seconds == 0:
            for w in list(self.once_each):
                self.number += 1
                self.one(w, self.number, 1 + self.number % 3)
            return
        helpers = [threading.Thread(target=t) for t in (self.mover, self.visits)]
        workers = [threading.Thread(target=self.worker, args=(workloads,)) for _ in range(self.args.at_once)]
        for t in helpers + workers:
            t.daemon = True
            t.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end and len(self.wrong) < 20:
            time.sleep(0.5)
        self.stop.set()
        for t in helpers + workers:
            t.join()

    def sizes(self):
        return {n: Sizes(self.cluster.hpcd(n)) for n in (1, 2, 3)}

    def check_precedence(self):
        """An hpcd that waits for a CPU behind its node's programs would be taken for lost; its remotes are such programs."""
        for node in (1, 2, 3):
            nice = os.getpriority(os.PRIO_PROCESS, self.cluster.hpcd(node))
            if nice >= 0:
                self.wrong.append(f"hpcd {node} runs at nice {nice}")
        for pid in ours(self.cluster.work):
            try:
                if (nice := os.getpriority(os.PRIO_PROCESS, pid)) != 0:
                    self.wrong.append(f"process {pid} runs at nice {nice}")
            except OSError:
                pass

    def check_left(self, before, count):
        """Nothing but spare remotes is left, and no hpcd has grown."""
        hpcds = {self.cluster.hpcd(n) for n in (1, 2, 3, VISITOR)}
        strays = until(lambda: not (found := {p: q for p, q in ours(self.cluster.work).items() if q not in hpcds}) and [found], 20)
        if not strays:
            found = {p: q for p, q in ours(self.cluster.work).items() if q not in hpcds}
            self.wrong.append(f"processes are left: {found}")
            for p in found:
                stuck.report(self.cluster, p, self.base / f"left.{p}.stuck")
        if not until(lambda: not any(n["guests"] or n["processes"] for n in self.cluster.nodes().values()), 10):
            self.wrong.append(f"nodes still count guests: {[(n['id'], n['guests'], n['processes']) for n in self.cluster.nodes().values()]}")
        time.sleep(3)  # spares are refilled, connections end
        until(lambda: all(after.fds - after.copies <= before[n].fds - before[n].copies + 8 for n, after in self.sizes().items()), UNUSED_S + 15)
        for n, after in self.sizes().items():
            fds, grown = (after.fds - after.copies) - (before[n].fds - before[n].copies), after.own_kib - before[n].own_kib
            print(f"node {n}: descriptors {before[n].fds} -> {after.fds} (copies of files {before[n].copies} -> {after.copies}), "
                  f"own memory {before[n].own_kib} -> {after.own_kib} KiB, {grown * 1024 / max(count, 1):.0f} bytes a process")
            if fds > 8:
                kinds = (after.kinds - before[n].kinds).most_common(5)
                self.wrong.append(f"hpcd {n} holds {fds} descriptors more than before: {kinds}")
            if grown > max(6144, count / 2):
                self.wrong.append(f"hpcd {n} holds {grown} KiB more than before, for {count} processes")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bins", type=pathlib.Path)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--at-once", type=int, default=3)
    parser.add_argument("--every", type=float, default=100, metavar="MS")
    parser.add_argument("--cycle", type=float, default=30, metavar="S")
    parser.add_argument("--limit", type=float, default=180, metavar="S")
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--only", action="append")
    parser.add_argument("--seed", type=int, default=os.getpid())
    parser.add_argument("--cluster", default=f"m{os.getpid() % 1000000}")
    return parser.parse_args()


def main():
    args = parse()
    workloads = tomllib.loads((HERE / "mixed.toml").read_text())["workload"]
    if args.only:
        if unknown := set(args.only) - {w["name"] for w in workloads}:
            print("no such workload: " + " ".join(sorted(unknown)), file=sys.stderr)
            return 2
        workloads = [w for w in workloads if w["name"] in args.only]
    base = pathlib.Path(tempfile.mkdtemp(prefix="hpc-vmm-mixed-"))
    base.chmod(0o755)
    memory = shared_memory()
    cluster = Cluster(args.bins.resolve(), base, args.cluster)
    mixed = Mixed(args, cluster, base)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # and the cluster comes down
    print(f"seed {args.seed}, cluster {args.cluster}, {base}", flush=True)
    try:
        mixed.prepare(workloads)
        cluster.up()
        mixed.load(workloads, 0)
        time.sleep(2)
        before, count = mixed.sizes(), len(mixed.seen)
        mixed.check_precedence()
        mixed.load(workloads, args.minutes * 60)
        count = len(mixed.seen) - count
        mixed.check_left(before, count)
    finally:
        logs = "".join(f"--- {log}\n" + "\n".join(log.read_text().splitlines()[-12:]) + "\n" for log in sorted(cluster.run.glob("*/hpcd.log")))
        down = cluster.verb("down")
    left = until(lambda: not ours(base) or None, 10)
    if down.returncode != 0 or "killed" in down.stderr or not left or cluster.run.exists():
        mixed.wrong.append(f"down: {down.returncode} {down.stderr} left {ours(base)} {cluster.run.exists()}")
    if any(args.cluster in name for name in os.listdir("/run/netns")):
        mixed.wrong.append("network namespaces are left")
    if (after := shared_memory()) != memory:
        print(f"shared memory of this machine, others' included: {memory} -> {after}")
    print(f"runs {dict(mixed.done)}, lost with the fourth node {mixed.lost}; processes seen {count}, moves {mixed.moves}, "
          f"refused {dict(mixed.refused)}; the fourth node came back {mixed.cycles} times", flush=True)
    if not mixed.moves or not mixed.cycles:
        mixed.wrong.append("nothing moved, or the fourth node never left")
    if mixed.wrong:
        print(logs, "\n".join(mixed.wrong), f"kept: {base}", sep="\n")
        return 1
    shutil.rmtree(base, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
