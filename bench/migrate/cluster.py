"""A cluster of this machine that a table starts and ends, and the programs it moves."""
import collections
import contextlib
import json
import os
import re
import selectors
import signal
import subprocess
import time

import measure

NODES = 3
HOME = 1


class Cluster:
    """`hpc-vmm up`; gone with all that was started in it at the end, also after a failure."""

    def __init__(self, vmm, nodes=NODES):
        self.vmm, self.nodes, self.guests = str(vmm), nodes, []

    def __enter__(self):
        if subprocess.run([self.vmm, "nodes"], capture_output=True, stdin=subprocess.DEVNULL, timeout=30).returncode == 0:
            raise measure.Failed("a cluster is up on this machine already: hpc-vmm down first")
        try:
            measure.output([self.vmm, "up", "--nodes", str(self.nodes), "--policy", "static"])
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for guest in self.guests:
            guest.kill()
        measure.output([self.vmm, "down"], timeout=60)

    def words(self, command, node=None, engine=None):
        more = [] if node is None else ["--node", str(node)]
        return [self.vmm, "launch", *more, *([] if engine is None else ["--engine", engine]), "--", *command]

    @contextlib.contextmanager
    def launch(self, command, node=None, engine=None, **more):
        """A guest that is gone at the end of the block."""
        guest = Guest(self, self.words(command, node, engine), **more)
        self.guests.append(guest)
        try:
            yield guest
        finally:
            guest.kill()
            self.guests.remove(guest)

    def migrate(self, pid, to, mode="hybrid"):
        """What `migrate --json` says, with begin_ns and end_ns of the command (CLOCK_MONOTONIC)."""
        begin = time.monotonic_ns()
        moved = json.loads(measure.output([self.vmm, "migrate", str(pid), str(to), "--mode", mode, "--json"], timeout=60))
        if moved["where"] != (HOME if to == "home" else to):
            raise measure.Failed(f"migrate {pid} {to}: it runs on node {moved['where']}")
        return dict(moved, begin_ns=begin, end_ns=time.monotonic_ns())

    def processes(self):
        return json.loads(measure.output([self.vmm, "ps", "--json"]))["processes"]


class Guest(subprocess.Popen):
    """A program with its lines; the number of `hpc-vmm launch` is the program's."""

    def __init__(self, cluster, words, **more):
        self.cluster = cluster
        self.name = os.path.basename(words[words.index("--") + 1] if "--" in words else words[0])
        super().__init__(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
        self.buffer, self.lines = b"", collections.deque()

    def line(self, timeout=60):
        """The next line of stdout."""
        end = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(self.stdout, selectors.EVENT_READ)
            while not self.lines:
                if not selector.select(max(0, end - time.monotonic())):
                    raise measure.Failed(f"{self.name}: no line in {timeout} s")
                data = os.read(self.stdout.fileno(), 1 << 16)
                if not data:
                    raise measure.Failed(f"{self.name} ended, status {self.wait(10)}: {self.errors()}")
                *whole, self.buffer = (self.buffer + data).split(b"\n")
                self.lines.extend(text.decode(errors="replace") for text in whole)
        return self.lines.popleft()

    def errors(self):
        return self.stderr.read().decode(errors="replace").strip()[-300:]

    def expect(self, pattern, timeout=60):
        text = self.line(timeout)
        found = re.fullmatch(pattern, text)
        if not found:
            raise measure.Failed(f"{self.name} said {text!r} where {pattern!r} was due")
        return found

    def say(self, text):
        self.stdin.write(text.encode() + b"\n")
        self.stdin.flush()

    def move(self, to, mode="hybrid"):
        return self.cluster.migrate(self.pid, to, mode)

    def end(self, number=signal.SIGTERM, timeout=120):
        """Ends it with a signal; the rest of its lines.  It must end well."""
        self.send_signal(number)
        return self.rest(timeout)

    def rest(self, timeout=120):
        try:
            out, errors = self.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise measure.Failed(f"{self.name} did not end in {timeout} s") from None
        if self.returncode != 0:
            said = (errors or out).decode(errors="replace").strip()[-300:]
            raise measure.Failed(f"{self.name} ended with status {self.returncode}: {said}")
        lines = list(self.lines) + (self.buffer + out).decode(errors="replace").splitlines()
        self.lines.clear()
        return lines

    def kill(self):
        if self.poll() is None:
            super().kill()
            self.wait(30)
        for stream in (self.stdin, self.stdout, self.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.close()


class Gaps:
    """What dirty.c said when it ended."""

    def __init__(self, lines):
        self.gaps = [tuple(map(int, text.split()[1:])) for text in lines if text.startswith("GAP ")]
        largest = [int(text.split()[1]) for text in lines if text.startswith("LARGEST ")]
        if not largest:
            raise measure.Failed(f"no LARGEST line in {lines[-3:]}")
        self.largest = largest[0]
        self.intact = any(text.startswith("INTACT ") for text in lines)

    def longest_ms(self, begin_ns, end_ns):
        """The longest one that overlaps the span, in ms; one that was not noted was shorter than 0.2."""
        inside = [length for begin, length in self.gaps if begin < end_ns and begin + length > begin_ns]
        return max(inside, default=200_000) / 1e6
