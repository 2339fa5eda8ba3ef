"""Rows: programs that people run, moved live; what they print must be what they print natively."""
import contextlib
import fcntl
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import termios
import time

import measure
from measure import Result, number
from rows_calls import crunch

TARGETS = (2, 3, "home", 3, 2, "home")
# At last away: the job is stopped (Ctrl-Z) and continued there.
TARGETS_OF_BASH = (2, 3, "home", 3, 2)


def figures(moves):
    downs = [m["downtime_us"] / 1000 for m in moves]
    return f"{len(moves)} moves, down {number(statistics.median(downs))} ms, at most {number(max(downs))} ms"


def crunching(ctx, key, name, what, **environment):
    """The figure is the time of all rounds, those in which it was moved included."""
    times, floor, moves = [], [], []
    for _ in range(ctx.repeat):
        more, ours, native = crunch(ctx, name, "1000000", TARGETS[:2] if ctx.tiny else TARGETS, 3,
                                    env=dict(ctx.environment, **environment))
        moves += more
        times.append(sum(took for _, took, _ in ours) / 1000)
        floor.append(sum(took for _, took, _ in native) / 1000)
    yield Result(key, what, "ms", times, "native", floor, note=figures(moves) + ", all results the same")


def openmp(ctx):
    yield from crunching(ctx, "openmp", "crunch.omp", f"OpenMP program, {os.cpu_count()} threads, moved while it runs",
                         OMP_NUM_THREADS=str(os.cpu_count()))


def ia32(ctx):
    yield from crunching(ctx, "ia32", "crunch.32", "IA32 program, moved while it runs")


# --- redis

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Redis:
    """What a client sees of a redis-server."""

    def __init__(self, port, folder):
        self.port, self.log = port, f"{folder}/redis.log"

    def ask(self, *words, **more):
        return measure.output(["redis-cli", "-p", str(self.port), *words], timeout=60, **more).strip()

    def wait(self):
        end = time.monotonic() + 20
        while subprocess.run(["redis-cli", "-p", str(self.port), "ping"], capture_output=True,
                             stdin=subprocess.DEVNULL, timeout=20).stdout != b"PONG\n":
            if time.monotonic() > end:
                raise measure.Failed("redis-server did not answer in 20 s")
            time.sleep(0.05)

    def fill(self, keys):
        script = f"for i = 1, {keys} do redis.call('set', 'own:' .. i, string.rep(i .. '-', 50)) end return {keys}"
        self.ask("eval", script, "0")

    def digest(self, keys):
        script = ("local s = '' for i = 1, " + str(keys) + " do s = redis.sha1hex(s .. redis.call('get', 'own:' .. i)) end "
                  "return s")
        return self.ask("eval", script, "0")

    def benchmark(self, requests):
        return subprocess.Popen(["redis-benchmark", "-p", str(self.port), "-t", "set,get", "-n", str(requests), "-c", "20",
                                 "-r", "10000", "--csv"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)


def requests_per_second(process, limit=120):
    try:
        out, errors = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise measure.Failed(f"redis-benchmark had no end after {limit} s") from None
    found = re.findall(r'^"(?:SET|GET)","([0-9.]+)"', out, re.M)
    if process.returncode != 0 or len(found) != 2:
        raise measure.Failed(f"redis-benchmark: status {process.returncode}: {(errors or out).strip()[-300:]}")
    return statistics.mean(map(float, found))


def redis(ctx):
    for program in ("redis-server", "redis-benchmark", "redis-cli"):
        if not shutil.which(program):
            raise measure.Failed(f"{program} is missing: apt-get install redis-server redis-tools")
    keys, requests = (50, 500) if ctx.tiny else (5000, 10000)
    with tempfile.TemporaryDirectory(prefix="hpcvmm-redis-") as folder:
        command = ["redis-server", "--save", "", "--appendonly", "no", "--dir", folder, "--daemonize", "no", "--logfile",
                   f"{folder}/log"]
        rates, native_rates, moves = [], [], []
        for launch in (ctx.native, ctx.cluster.launch):
            port = free_port()
            with launch(command + ["--port", str(port)]) as server:
                client = Redis(port, folder)
                client.wait()
                client.fill(keys)
                before = client.digest(keys)
                load = client.benchmark(requests if launch == ctx.native else max(requests // 2, 500))
                try:
                    if launch == ctx.native:
                        native_rates.append(requests_per_second(load))
                        expected = before
                        continue
                    while load.poll() is None and len(moves) < (2 if ctx.tiny else 24):
                        moves.append(server.move(TARGETS[len(moves) % len(TARGETS)]))
                        time.sleep(0.1)
                    rates.append(requests_per_second(load))
                finally:
                    load.kill()
                    load.wait()
                if not client.digest(keys) == before == expected:
                    raise measure.Failed("redis: its keys are not what they were before the moves")
    if not moves:
        raise measure.Failed("redis: the benchmark was over before a move")
    yield Result("redis", "redis-server under redis-benchmark, moved meanwhile", "ms", [m["downtime_us"] / 1000 for m in moves],
                 note=f"{figures(moves)}; {number(rates[0])} requests/s, natively {number(native_rates[0])}; {keys} keys intact")


# --- bash

class Terminal:
    """A pseudoterminal and what has been said on it."""

    def __init__(self):
        self.master, self.slave = pty.openpty()
        self.text = ""

    def close(self):
        for fd in (self.master, self.slave):
            with contextlib.suppress(OSError):
                os.close(fd)

    def press(self, keys):
        os.write(self.master, keys.encode())

    def say(self, line):
        self.press(line + "\n")

    def expect(self, pattern, limit=30):
        """Reads on until the pattern has come; forgets what was before its end."""
        end = time.monotonic() + limit
        while not (found := re.search(pattern, self.text)):
            if not select.select([self.master], [], [], max(0, end - time.monotonic()))[0]:
                raise measure.Failed(f"bash: no {pattern!r} in {limit} s, but {self.text[-200:]!r}")
            self.text += os.read(self.master, 65536).decode(errors="replace").replace("\r", "")
        self.text = self.text[found.end():]
        return found


def persistently(ctx, pid, to, refused):
    """A process is refused in the moment in which it forks, and a loop of a shell's often does."""
    while True:
        try:
            return ctx.cluster.migrate(pid, to)
        except measure.Failed as reason:
            if "it is forking" not in str(reason) or len(refused) > 100:
                raise
            refused.append(to)


def session(ctx, words, turn):
    """Works with an interactive bash and its job in the background; turn(shell, job, to) is called before each of its
    answers.  How long they took, in ms."""
    answers = []
    terminal = Terminal()
    try:
        with tempfile.TemporaryDirectory(prefix="hpcvmm-bash-") as folder:
            shell = subprocess.Popen(words, stdin=terminal.slave, stdout=terminal.slave, stderr=terminal.slave,
                                     start_new_session=True, env=dict(ctx.environment, PS1="$ ", HISTFILE=""),
                                     preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
            try:
                terminal.say(f"while [ ! -e {folder}/end ]; do echo $((++i)); sleep 0.05; done > {folder}/job & echo job=$!=")
                job = int(terminal.expect(r"job=(\d+)=")[1])
                for i, to in enumerate(TARGETS_OF_BASH[-2 if ctx.tiny else 0:]):
                    turn(shell.pid, job, to)
                    begin = time.monotonic()
                    terminal.say(f"echo answer=$(({i} + 40))=")
                    terminal.expect(rf"answer={i + 40}=")
                    answers.append((time.monotonic() - begin) * 1e3)
                terminal.say("fg")
                terminal.expect(r"done > \S+job")
                # It names the job before it gives it the terminal.
                time.sleep(0.5)
                terminal.press("\x1a")
                terminal.expect(r"\[1\]\+ +Stopped")
                terminal.say("bg; jobs; wait %1; echo status=$?=")
                terminal.expect(r"\[1\]\+? +Running")
                pathlib.Path(folder, "end").touch()
                if terminal.expect(r"status=(\d+)=", 60)[1] != "0":
                    raise measure.Failed("bash: its job ended badly")
                terminal.say("exit 7")
                if shell.wait(20) != 7:
                    raise measure.Failed(f"bash: exit status {shell.returncode} instead of 7")
                lines = pathlib.Path(folder, "job").read_text(encoding="ascii").split()
                if not lines or lines != [str(i + 1) for i in range(len(lines))]:
                    raise measure.Failed("bash: the job's output is not what it is natively")
            finally:
                end_session(shell.pid)
                shell.wait()
    finally:
        terminal.close()
    return answers


def end_session(leader):
    """Ends a shell and what it has started: a job in the background has a process group of its own."""
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.getsid(int(entry)) == leader:
                os.kill(int(entry), signal.SIGKILL)


def bash(ctx):
    command = ["/bin/bash", "--norc", "--noprofile", "-i"]
    moves, refused = [], []

    def move(shell, job, to):
        for pid in (shell, job):
            moves.append(persistently(ctx, pid, to, refused))

    native = session(ctx, command, lambda *_: None)
    answers = session(ctx, ctx.cluster.words(command), move)
    yield Result("bash", "interactive bash and its job in the background", "ms", [m["downtime_us"] / 1000 for m in moves],
                 note=f"{figures(moves)}; it answers a line in {number(statistics.median(answers))} ms, natively "
                 f"{number(statistics.median(native))}; {len(refused)} moves refused because it was forking; output, job "
                 "control, status right")
