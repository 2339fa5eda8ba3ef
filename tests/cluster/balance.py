#!/usr/bin/python3
"""balance.py BIN-FOLDER TESTS-FOLDER CASE... [--cpus A,B,C] [--count N] [--seconds S] [--json FILE]

The balancer of a real cluster of three nodes, with real programs; each case makes its own cluster.  Needs root.

makespan   N processes, half of them IA32 (direct), all started on node 1, are done long before node 1 alone could have
           done them; the ratio to the ideal (total work / total speed, both measured in this run) is reported
staggered  the same, one after the other
short      the same work in many short programs, as make -j starts them
memory     a process that grows is ushered away before its node is full
orders     stay, lock, run_on, mask, expel, bring, drain, why: as people say, and remembered by a new hpcd
owner      an owner's return sends guests away
killed     a node that is killed takes no other with it
joined     an hpcd that comes anew draws work within seconds
limits     what a user other than root launches is under its node's limits
calls      what a call home costs, partners, I/O and what programs need are measured, told to the node where it runs, remembered
idle       bytes per second that an idle cluster sends
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

MOST_MOVES = 5  # "a handful"
# Of the time that node 1 alone would take.  How near to the ideal it comes is a promise of speed (bench/balance.py), and
# on a machine that others use, too, no test.
OF_STAYING = 0.6
ROUNDS_TO_TRY = 3000


class Failure(Exception):
    pass


def until(what, check, seconds=15.0, step=0.1):
    end = time.monotonic() + seconds
    while not (found := check()):
        if time.monotonic() > end:
            raise Failure(f"after {seconds:.0f} s still not: {what}")
        time.sleep(step)
    return found


class Cluster:
    def __init__(self, bins, work, options):
        self.vmm, self.work, self.options = work / "hpc-vmm", work, options
        for name in ("hpc-vmm", "hpcd"):  # where the remotes' user may read them
            shutil.copy(bins / name, work / name)
        self.name = "b%d" % (os.getpid() % 1000000)
        self.run = pathlib.Path(f"/run/hpc-vmm-{self.name}")
        self.env = dict(os.environ, HPCVMM_CLUSTER=self.name)
        self.guests = []

    def verb(self, *words, good=True, timeout=60):
        done = subprocess.run([self.vmm, *map(str, words)], env=self.env, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=timeout, check=False)
        if good and done.returncode != 0:
            raise Failure(f"hpc-vmm {' '.join(map(str, words))}: {done.stdout}{done.stderr}")
        return done

    def ask(self, *words):
        return json.loads(self.verb(*words, "--json").stdout)

    def __enter__(self):
        self.verb("up", "--nodes", 3, *self.options)
        return self

    def __exit__(self, kind, *_):
        for guest in self.guests:
            if guest.poll() is None:
                self.end(guest)
        if kind is not None:
            for log in sorted(self.run.glob("*/hpcd.log")):
                print(f"--- {log}\n" + "\n".join(log.read_text().splitlines()[-15:]))
        self.verb("down", good=False)

    def launch(self, *program, engine=None, home=1, node=None):
        words = ["launch", "--home", str(home)]
        words += ["--engine", engine] if engine else []
        words += ["--node", str(node)] if node else []
        guest = subprocess.Popen([self.vmm, *words, "--", *map(str, program)], env=self.env, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                 start_new_session=True)
        self.guests.append(guest)
        return guest

    def end(self, guest):
        """And whoever it has forked."""
        os.killpg(guest.pid, signal.SIGKILL)
        guest.wait()

    def processes(self):
        return {p["pid"]: p for p in self.ask("ps")["processes"]}

    def where(self, guest):
        return self.processes().get(guest.pid, {}).get("where", 0)

    def node(self, number):
        return next(n for n in self.ask("nodes")["nodes"] if n["id"] == number)

    def hpcd(self, node):
        return int((self.run / str(node) / "hpcd.pid").read_text().split()[0])

    def settle(self):
        """All nodes know each other's load."""
        until("every node knows every load", lambda: all(n.get("speed", 0) > 0 for n in self.ask("nodes")["nodes"]))


class Programs:
    """spin.64 and spin.32, and how many rounds of each make a second of CPU time; measured natively."""

    def __init__(self, tests, work):
        # What measures is another program to the balancer, which remembers how long a program has run.
        self.path, self.probe, self.per_second = {}, {}, {}
        for bits in (64, 32):
            self.path[bits], self.probe[bits] = work / f"spin.{bits}", work / f"probe.{bits}"
            for path in (self.path[bits], self.probe[bits]):
                shutil.copy(tests / f"spin.{bits}", path)
            best = 0
            for _ in range(3):
                before = os.times()
                subprocess.run([self.path[bits], str(ROUNDS_TO_TRY)], stdout=subprocess.DEVNULL, check=True)
                after = os.times()
                best = max(best, ROUNDS_TO_TRY / (after.children_user - before.children_user + 1e-3))
            self.per_second[bits] = best

    def words(self, bits, seconds):
        return [self.path[bits], int(self.per_second[bits] * seconds)]

    def probe_words(self, bits, seconds):
        return [self.probe[bits], int(self.per_second[bits] * seconds)]


def engine_of(bits):
    return "direct" if bits == 32 else None


def wait_all(cluster, guests, seconds):
    """Moves of each, as seen last; every program must have ended well."""
    moves, end = {}, time.monotonic() + seconds
    while any(g.poll() is None for g in guests):
        if time.monotonic() > end:
            raise Failure(f"after {seconds:.0f} s {sum(g.poll() is None for g in guests)} of {len(guests)} still run")
        for pid, p in cluster.processes().items():
            moves[pid] = p["migrations"]
        time.sleep(0.3)
    for g in guests:
        out, err = g.communicate()
        if g.returncode != 0 or len(out.split()) != 2:
            raise Failure(f"process {g.pid} ended with {g.returncode}: {out}{err}")
    return moves


def speed_of(cluster, programs, seconds=4.0):
    """CPU seconds per second of all nodes at once: one program on each, kept there, all at the same time.  A program ends
    there and then only if its node really gives it what it should."""
    guests = []
    shares = {n["id"]: n["cpus"] for n in cluster.ask("nodes")["nodes"]}
    for node in shares:
        cluster.verb("ctl", node, "policy=static")
    begin = time.monotonic()
    for node, share in shares.items():
        guests.append((node, share * seconds,
                       cluster.launch(*programs.probe_words(64, share * seconds), node=None if node == 1 else node)))
    left, speed = list(guests), 0.0
    while left:
        for one in list(left):
            if one[2].poll() is not None:
                speed += one[1] / (time.monotonic() - begin)
                left.remove(one)
        time.sleep(0.01)
    for node in shares:
        cluster.verb("ctl", node, "policy=mosix")
    return speed


def report(results, case, **figures):
    results[case] = figures
    print(f"{case}: " + ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items()),
          flush=True)


def check_time(cluster, took, ideal):
    cpus = {n["id"]: n["cpus"] for n in cluster.ask("nodes")["nodes"]}
    staying = ideal * sum(cpus.values()) / cpus[1]
    if took > staying * OF_STAYING:
        raise Failure(f"{took:.1f} s; the ideal is {ideal:.1f} s, and node 1 alone would have taken {staying:.1f} s")


def check_moves(moves):
    if moves and max(moves.values()) > MOST_MOVES:
        raise Failure(f"a process moved {max(moves.values())} times")


def run_jobs(cluster, programs, jobs):
    """jobs: (start second, bits, CPU seconds), all started on node 1.  Makespan and moves."""
    guests, begin = [], time.monotonic()
    for at, bits, seconds in jobs:
        time.sleep(max(0.0, begin + at - time.monotonic()))
        guests.append(cluster.launch(*programs.words(bits, seconds), engine=engine_of(bits)))
    moves = wait_all(cluster, guests, 150)
    return time.monotonic() - begin, moves


def spread(cluster, programs, results, case, jobs):
    cluster.settle()
    before = speed_of(cluster, programs)
    took, moves = run_jobs(cluster, programs, jobs)
    after = speed_of(cluster, programs)
    work = sum(seconds for _, _, seconds in jobs)
    speed = (before + after) / 2
    last = max(at for at, _, _ in jobs)
    ideal = max(work / speed, last)
    report(results, case, processes=len(jobs), work_s=work, speed=speed, ideal_s=ideal, took_s=took, ratio=took / ideal,
           most_moves=max(moves.values(), default=0), moves=sum(moves.values()))
    check_time(cluster, took, ideal)
    check_moves(moves)


def makespan(a, cluster, programs, results):
    spread(cluster, programs, results, "makespan", [(0.0, 64 if i % 2 else 32, a.seconds) for i in range(a.count)])


def staggered(a, cluster, programs, results):
    # Over about half of what the work takes: later ones meet a loaded cluster.
    gap = a.seconds * 0.5 / sum(map(float, a.cpus.split(",")))
    spread(cluster, programs, results, "staggered",
           [(i * gap, 64 if i % 2 else 32, a.seconds * (0.5 + i % 3 / 2)) for i in range(a.count)])


def start_cost(cluster, programs, count=6):
    """CPU seconds of starting and ending one program at home that does nothing: of the process that launches and becomes it."""
    cluster.verb("ctl", 1, "policy=static")
    before = os.times()
    for i in range(count):
        bits = 64 if i % 2 else 32
        guest = cluster.launch(programs.probe[bits], 1, engine=engine_of(bits))
        if guest.wait(timeout=30) != 0:
            raise Failure(f"a program that does nothing ended with {guest.returncode}")
    cluster.verb("ctl", 1, "policy=mosix")
    after = os.times()
    return (after.children_user + after.children_system - before.children_user - before.children_system) / count


def short(a, cluster, programs, results):
    """N at a time, each a third of a second, a new one when one ends, as make -j N does.  Whoever shares them out, each has
    to be started: what that takes at home, measured in the same run, is part of the work."""
    cluster.settle()
    start = start_cost(cluster, programs)
    before = speed_of(cluster, programs)
    one, total, at_once = 0.3, int(a.count * a.seconds / 0.3), 8
    begin, left, running, places = time.monotonic(), total, [], {}
    done = threading.Event()

    def look():  # seldom, home has 0.4 CPUs and its hpcd is who is asked; and apart, or a start would wait for the answer
        while not done.wait(1):
            places.update({pid: p["where"] for pid, p in cluster.processes().items()})

    looker = threading.Thread(target=look, daemon=True)
    looker.start()
    try:
        while left or running:
            for g in [g for g in running if g.poll() is not None]:
                running.remove(g)
                if g.returncode != 0:
                    raise Failure(f"a short program ended with {g.returncode}: {g.stderr.read()}")
            while left and len(running) < at_once:
                bits = 64 if left % 2 else 32
                running.append(cluster.launch(*programs.words(bits, one), engine=engine_of(bits)))
                left -= 1
            time.sleep(0.005)
            if time.monotonic() - begin > 150:
                raise Failure("short programs take too long")
        took = time.monotonic() - begin
    finally:
        done.set()
        looker.join()
    speed = (before + speed_of(cluster, programs)) / 2
    ideal = total * (one + start) / speed
    seen = {n: sum(1 for w in places.values() if w == n) for n in (1, 2, 3)}
    report(results, "short", processes=total, start_s=start, ideal_s=ideal, took_s=took, ratio=took / ideal,
           of_work_alone=took * speed / total / one, seen_on=seen)
    check_time(cluster, took, ideal)


def memory(a, cluster, programs, results):
    del a
    cluster.settle()
    # Grows to 320 MiB, which its node has not; what it does not need to send is not sent.
    small = [cluster.launch(programs.path[64], 60 * ROUNDS_TO_TRY) for _ in range(1)]
    cluster.verb("ctl", 1, "hysteresis=1")  # memory alone
    hog = cluster.launch(programs.path[64], 60 * ROUNDS_TO_TRY, 320, node=None)
    least, begin = 1.0, time.monotonic()
    while cluster.where(hog) in (0, 1):
        node = cluster.node(1)
        least = min(least, node["memory_free"] / node["memory_total"])
        if hog.poll() is not None or time.monotonic() - begin > 40:
            raise Failure(f"the hog was not sent away: {hog.poll()} {hog.stderr.read() if hog.poll() is not None else ''}")
        time.sleep(0.1)
    p = cluster.processes()[hog.pid]
    del small
    report(results, "memory", after_s=time.monotonic() - begin, where=p["where"], why=p["why"], least_free_share=least)
    group = pathlib.Path(f"/sys/fs/cgroup/memory/hpcvmm-{cluster.name}-1/memory.failcnt")
    if group.exists() and int(group.read_text()) > 0:
        raise Failure("the node had reached its limit")


def orders(a, cluster, programs, results):
    del a
    cluster.settle()
    guests = [cluster.launch(*programs.words(64, 60)) for _ in range(3)]
    first = guests[0]
    until("they spread", lambda: len({cluster.where(g) for g in guests}) > 1, 20)
    cluster.verb("ctl", 1, "policy=static")
    # A person's node, and a lock that keeps it there.
    set_process(cluster, first, {"run_on": 3})
    until("run_on sends it to node 3", lambda: cluster.where(first) == 3)
    set_process(cluster, first, {"run_on": 0, "locked": True})
    p = cluster.processes()[first.pid]
    if not p["locked"] or p["run_on"] != 0:
        raise Failure(f"ps does not show it: {p}")
    why = cluster.ask("why", first.pid)
    if why["where"] != 3 or why["forbidden"] != "locked" or len(why["nodes"]) != 3:
        raise Failure(f"why: {why}")
    if "locked" not in cluster.verb("why", first.pid).stdout:
        raise Failure("why, as people see it, does not say that it is locked")
    # Expel waits until the guests have gone, even the locked one.
    cluster.verb("ctl", 3, "expel=true")
    if cluster.node(3)["guests"] != 0 or "expel" not in cluster.node(3)["orders"]:
        raise Failure(f"expel left somebody: {cluster.node(3)}")
    # The home hears of it a moment after the node that it has left.
    until("ps shows it elsewhere", lambda: cluster.where(first) != 3, 2)
    if cluster.verb("ctl", 3, "expell=true", good=False).returncode == 0:
        raise Failure("an unknown setting was taken")
    cluster.verb("ctl", 3, "expel=false", "hysteresis=0.25")
    # Away again, and brought back by the node whose it is.
    set_process(cluster, first, {"run_on": 2, "locked": False})
    until("run_on sends it to node 2", lambda: cluster.where(first) == 2)
    set_process(cluster, first, {"run_on": 0})
    cluster.verb("ctl", 1, "bring=true")
    if any(cluster.where(g) not in (0, 1) for g in guests):
        raise Failure("bring left somebody away")
    cluster.verb("ctl", 1, "bring=false")
    # Drained: everything leaves, its own too; then it takes them again.
    cluster.verb("drain", 1)
    if any(cluster.where(g) == 1 for g in guests) or cluster.node(1)["state"] != "draining":
        raise Failure("drain left somebody on the node")
    cluster.verb("resume", 1)
    # Another node knows of the empty one as soon as drain has ended.
    cluster.verb("drain", 2)
    if cluster.node(2)["guests"] != 0:
        raise Failure(f"node 1 still counts guests on node 2: {cluster.node(2)}")
    cluster.verb("resume", 2)
    # What was set is still set when an hpcd comes anew; the programs' own home goes on.
    set_process(cluster, first, {"mask": {"mode": "allow", "nodes": [1, 2]}})
    restart(cluster, 3)
    until("node 3 remembers", lambda: '"hysteresis": 0.25' in cluster.verb("ctl", 3, "--json", good=False).stdout, 20)
    report(results, "orders", checked="run_on lock expel bring drain mask why remembered")


def set_process(cluster, guest, what):
    import socket
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(cluster.run / "1" / "api.sock"))
        s.sendall(json.dumps({"op": "process", "pid": guest.pid, "set": what}).encode() + b"\n")
        answer = json.loads(s.makefile().readline())
    if not answer["ok"]:
        raise Failure(f"process {what}: {answer}")
    return answer["process"]


def restart(cluster, node, kill=False):
    pid = cluster.hpcd(node)
    os.kill(pid, signal.SIGKILL if kill else signal.SIGTERM)
    until(f"hpcd {node} has ended", lambda: not pathlib.Path(f"/proc/{pid}/stat").exists()
          or pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z")
    start(cluster, node)


def start(cluster, node):
    folder = cluster.run / str(node)
    log = open(folder / "hpcd.log", "ab")
    child = subprocess.Popen(["nsenter", f"--net=/run/netns/hpcvmm-{cluster.name}-{node}", cluster.work / "hpcd", "--config",
                              folder / "hpcd.toml"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    started = pathlib.Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
    (folder / "hpcd.pid").write_text(f"{child.pid} {started}\n")


def owner(a, cluster, programs, results):
    del a
    cluster.settle()
    guests = [cluster.launch(*programs.words(64, 30)) for _ in range(4)]
    until("node 3 has guests", lambda: any(cluster.where(g) == 3 for g in guests), 20)
    begin = time.monotonic()
    cluster.verb("ctl", 3, "owner_active=true")
    until("its owner has the node", lambda: not any(cluster.where(g) == 3 for g in guests), 20)
    took = time.monotonic() - begin
    until("node 1 hears of the owner", lambda: cluster.node(3)["owner_active"], 10)
    report(results, "owner", gone_after_s=took)


def killed(a, cluster, programs, results):
    del a
    cluster.settle()
    guests = [cluster.launch(*programs.words(64, 2.0)) for _ in range(6)]
    until("node 2 has guests", lambda: any(cluster.where(g) == 2 for g in guests), 20)
    there = {g.pid for g in guests if cluster.where(g) == 2}
    os.kill(cluster.hpcd(2), signal.SIGKILL)
    end = time.monotonic() + 90
    while any(g.poll() is None for g in guests) and time.monotonic() < end:
        time.sleep(0.2)
    lost = [g for g in guests if g.poll() != 0]
    for g in lost:
        err = g.stderr.read()
        if "node 2 is lost" not in err and g.pid not in there:
            raise Failure(f"a process that was not on node 2 ended with {g.poll()}: {err}")
    for n in (1, 3):
        if not pathlib.Path(f"/proc/{cluster.hpcd(n)}").exists():
            raise Failure(f"hpcd {n} is gone")
    until("node 2 is seen to be down", lambda: cluster.node(2)["state"] == "down", 15)
    report(results, "killed", lost_with_it=len(lost), went_on=len(guests) - len(lost))


def joined(a, cluster, programs, results):
    del a
    pid = cluster.hpcd(3)
    os.kill(pid, signal.SIGKILL)
    until("node 3 is seen to be down", lambda: cluster.node(3)["state"] == "down", 15)
    guests = [cluster.launch(*programs.words(64, 20)) for _ in range(6)]
    time.sleep(3)
    begin = time.monotonic()
    start(cluster, 3)
    until("node 3 draws work", lambda: any(cluster.where(g) == 3 for g in guests), 20)
    took = time.monotonic() - begin
    report(results, "joined", drew_work_after_s=took)
    if took > 10:
        raise Failure(f"it took {took:.1f} s")


def limits(a, cluster, programs, results):
    del a
    cluster.settle()
    guest = subprocess.Popen([cluster.vmm, "launch", "--home", "1", "--", "/bin/sh", "-c",
                              f"{programs.path[64]} {int(programs.per_second[64] * 3)}; exit 3"], env=cluster.env, user="nobody",
                             group="nogroup", cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE, text=True)
    cluster.guests.append(guest)
    until("it is known", lambda: guest.pid in cluster.processes() or guest.poll() is not None)
    mine = until("its child is known", lambda: [p for p in cluster.processes().values() if p.get("parent") == guest.pid])
    name = f"hpcvmm-{cluster.name}-1"
    for pid in (guest.pid, mine[0]["pid"]):
        groups = pathlib.Path(f"/proc/{pid}/cgroup").read_text()
        if not any(line.endswith(name) for line in groups.splitlines()):
            raise Failure(f"process {pid} is not in {name}: {groups}")
    if guest.wait(timeout=60) != 3:
        raise Failure(f"it ended with {guest.returncode}: {guest.stderr.read()}")
    report(results, "limits", groups=name)


def calls(a, cluster, programs, results):
    del a
    cluster.settle()
    # Writes and reads without end.
    pipe = cluster.launch("/bin/sh", "-c", "while :; do echo 0123456789; done | while read -r x; do y=$x$x; done")
    for n in (1, 2, 3):
        cluster.verb("ctl", n, "policy=static")
    busy = until("its calls are counted",
                 lambda: [p for p in cluster.processes().values() if p["home_calls_ps"] > 100 and p["where"] in (0, 1)], 20)[0]["pid"]
    until("its partner and what it reads and writes are known", lambda: (p := cluster.processes()[busy])["partners"] and
          p["partner_messages_ps"] > 100 and p["io_bytes_ps"] > 1000, 30)
    why = cluster.ask("why", busy)
    if why["home_call_us"] != 100 or not why["distance_cost"] > 0:
        raise Failure(f"at home, and nobody was away yet: the knob's 100 us count: {why}")
    # Away, each call's way is measured, and goes by.
    cluster.verb("migrate", busy, 2)
    way = until("what a call home costs", lambda: cluster.processes().get(busy, {}).get("home_call_us", 0), 20)
    if not 10 <= way <= 20000:
        raise Failure(f"a call home costs {way} us")
    told = until("the node where it runs has been told", lambda: cluster.ask("why", busy)["home_call_us"] not in (0, 100), 20)
    cluster.verb("migrate", busy, "home")
    back = cluster.ask("why", busy)["home_call_us"]
    if back in (0, 100):
        raise Failure(f"at home again it has been forgotten: {back}")
    cluster.end(pipe)
    # What a program needs is known from processes that ended before anybody looked: all of it, not their first moment.
    for node in (None, None, 2, 2):
        if cluster.launch(*programs.words(64, 0.3), node=node).wait(timeout=30) != 0:
            raise Failure("a short program failed")
    one = cluster.launch(*programs.words(64, 20))
    until("it is there", lambda: one.pid in cluster.processes())
    program = cluster.ask("why", one.pid)["program"]
    cluster.end(one)
    if not 0.15 < program["cpu_s"] < 0.6 or not 20 < program["home_calls_ps"] < 400:
        raise Failure(f"0.3 s of CPU and some 35 calls a run: {program}")
    report(results, "calls", call_us=way, told=told, remembered_us=back, program=program)


def idle(a, cluster, programs, results):
    del a, programs
    cluster.settle()
    time.sleep(12)  # a young node tells more

    def sent():
        total = 0
        for n in (1, 2, 3):
            for line in metrics(cluster, n).splitlines():
                if line.startswith("hpcd_driver_sent_bytes_total"):
                    total += float(line.split()[-1])
        return total

    def gossip():
        return sum(float(line.split()[-1]) for n in (1, 2, 3) for line in metrics(cluster, n).splitlines()
                   if line.startswith("hpcd_balancer_gossip_bytes_total"))

    wire, load, begin = sent(), gossip(), time.monotonic()
    time.sleep(10)
    took = time.monotonic() - begin
    report(results, "idle", bytes_ps_per_node=(sent() - wire) / took / 3, load_bytes_ps_per_node=(gossip() - load) / took / 3)
    if (sent() - wire) / took / 3 > 4096:
        raise Failure("an idle node sends more than 4 KiB per second")


def metrics(cluster, node):
    import socket
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(cluster.run / str(node) / "api.sock"))
        s.sendall(b'{"op":"metrics"}\n')
        return json.loads(s.makefile().readline())["metrics"]


CASES = {"makespan": makespan, "staggered": staggered, "short": short, "memory": memory, "orders": orders, "owner": owner,
         "killed": killed, "joined": joined, "limits": limits, "calls": calls, "idle": idle}
LIMITED = ("makespan", "staggered", "short", "killed", "joined", "owner", "orders", "limits")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bins", type=pathlib.Path)
    parser.add_argument("tests", type=pathlib.Path)
    parser.add_argument("cases", nargs="+", choices=list(CASES))
    parser.add_argument("--cpus", default="0.4,0.4,0.8", help="of each node")
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=1.2, help="CPU time of each process")
    parser.add_argument("--record", help="node 1's decisions go to this file")
    parser.add_argument("--json", type=pathlib.Path)
    a = parser.parse_args()
    results, wrong = {}, []
    work = pathlib.Path(tempfile.mkdtemp(prefix="hpc-vmm-balance-"))
    work.chmod(0o755)
    try:
        programs = Programs(a.tests, work)
        for case in a.cases:
            options = ["--cpus", a.cpus] if case in LIMITED else ["--memory", "256M,1G,1G"] if case == "memory" else []
            try:
                with Cluster(a.bins, work, options) as cluster:
                    if a.record:
                        cluster.verb("ctl", 1, f"record={a.record}")
                    CASES[case](a, cluster, programs, results)
            except Failure as f:
                wrong.append(case)
                print(f"{case}: {f}", flush=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if a.json:
        a.json.write_text(json.dumps(results, indent=2) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
