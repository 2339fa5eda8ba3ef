#!/usr/bin/env python3
"""Debugs one program with gdb, through `hpc-vmm launch --gdb` or natively, and compares what gdb says.

usage: run_gdb.py CASE PROGRAM native
       run_gdb.py CASE PROGRAM HPC-VMM ENGINE
Exit status 0 passed, 1 failed (everything said is printed), 77 gdb is not installed.
"""
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

PATIENCE_S = 60


class Case:
    def __init__(self, mode, commands, expect, status, interrupt=False, native=True, port=False, said=()):
        self.mode, self.commands, self.expect, self.status = mode, commands, expect, status
        self.interrupt, self.native, self.port, self.said = interrupt, native, port, said


CASES = {
    "walk": Case(
        "plain",
        ["break main", "continue", "break triple", "continue", "backtrace", "print x", "set var x = 15", "next",
         "print result", "set var result = 42", "stepi", "info threads", "finish", "next", "print value", "print half",
         "print/x $cs", "info breakpoints", "continue"],
        [r"Breakpoint 1, main", r"Breakpoint 2, triple \(x=14\)", r"#0 +triple", r"#1 .*main", r"\$1 = 14", r"\$2 = 45",
         r"\* 1 .*triple", r"Value returned is \$3 = 42", r"\$4 = 42", r"\$5 = 0\.5", r"exited with code 07"],
        7, said=[r"value 42 shared 5 half 0\.50"]),
    "port": Case("plain", ["continue"], [r"exited with code 07"], 7, native=False, port=True),
    "floating": Case(
        "plain",
        ["break triple", "continue", "print $xmm1.v4_float[0] = 1.5", "stepi", "print $xmm1.v4_float[0]",
         "print $st0 = 2.5", "stepi", "print $st0", "print/x $mxcsr", "continue"],
        [r"\$2 = 1\.5", r"\$4 = 2\.5", r"\$5 = (0x1f80|\[.*PM \])", r"exited with code 07"], 7),
    "threads": Case(
        "threads",
        ["break in_thread", "continue", "info threads", "print shared", "next", "print shared",
         "thread apply all -ascending -q print 1000 + $_thread", "continue"],
        [r"hit Breakpoint 1, in_thread \(number=100\)", r"\* \d .*in_thread", r"\$1 = 5", r"\$2 = 105", r"= 1001", r"= 1002",
         r"= 1003", r"exited with code 07"],
        7, said=[r"shared 105"]),
    # 4 threads meet one breakpoint 40 times in all, at the same time: none may be lost, none reported twice.
    "crowd": Case(
        "crowd", ["break count_one", "ignore 1 1000", "continue", "info breakpoints"],
        [r"exited with code 07", r"already hit 40 times"], 7, said=[r"counted 40"]),
    "crash": Case(
        "crash", ["continue", "backtrace 1", "print where", "print $_siginfo.si_signo", "continue"],
        [r"received signal SIGSEGV", r"#0 .*crash", r"\$1 = .*0x0", r"\$2 = 11", r"terminated with signal SIGSEGV"], -signal.SIGSEGV),
    "abort": Case("abort", ["continue", "continue"], [r"received signal SIGABRT", r"terminated with signal SIGABRT"],
                  -signal.SIGABRT),
    "handled": Case(
        "usr1", ["break on_usr1", "continue", "continue", "backtrace", "continue"],
        [r"received signal SIGUSR1", r"Breakpoint 1, on_usr1 \(signo=10\)", r"<signal handler called>", r"main", r"exited with code 07"],
        7, said=[r"shared 15"]),
    "unsent": Case("usr1", ["handle SIGUSR1 nopass", "continue", "continue"],
                   [r"received signal SIGUSR1", r"exited with code 07"], 7, said=[r"shared 5\n"]),
    "quiet": Case("usr1", ["handle SIGUSR1 nostop noprint pass", "continue"], [r"exited with code 07"], 7, said=[r"shared 15"]),
    "fork": Case("fork", ["break in_child", "continue"], [r"exited with code 07"], 7,
                 said=[r"child 9", r"vfork child 8 shared 77"]),
    "exec": Case("exec", ["continue"], [r"Remote connection closed"], 0, native=False, said=[r"executed"]),
    "spin": Case("spin", ["continue", "backtrace 1", "print triple(5)", "set var shared = 6", "continue"],
                 [r"received signal SIGINT", r"#0 .*main", r"\$1 = 15", r"exited with code 07"], 7, interrupt=True,
                 native=False, said=[r"left 6"]),
    "asleep": Case("sleep", ["continue", "print triple(5)", "kill"], [r"received signal SIGINT", r"\$1 = 15", r"killed"],
                   -signal.SIGKILL, interrupt=True, native=False),
    "detach": Case("threads", ["break in_thread", "continue", "detach"], [r"Breakpoint 1, in_thread", r"detached"], 7,
                   native=False, said=[r"shared 105"]),
    "noise": Case("plain", [], [], 7, native=False, said=[r"value 42"]),
    # Steps over system calls too; the program's own flags must not show the trap flag.
    "stepping": Case("plain", ["break triple", "continue", "set $n = 0",
                               "while $n < 300\nstepi\nset $n = $n + 1\nend", "print $eflags & 0x100", "continue"],
                     [r"\$1 = (0|\[ \])", r"exited with code 07"], 7),
}


def packet(body):
    return b"$" + body + b"#%02x" % (sum(body) & 0xFF)


def noise(where):
    """A client that is not gdb: damaged and nonsensical packets, then it goes away.  The program must run on."""
    dice = random.Random(5)
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(where)
        s.settimeout(PATIENCE_S)
        s.sendall(packet(b"QStartNoAckMode"))
        seeds = [b"g", b"G00", b"m0,10", b"m6a8000000000,10", b"M6a8000000000,1:00", b"X7fffffffffff,1:a", b"Z0,0,1",
                 b"Z0,6a8000000000,1", b"P10=00", b"Hg-1", b"vCont;t", b"vFile:open:2f,0,0", b"qXfer:auxv:read::0,ffff"]
        for _ in range(3000):
            body = bytearray(dice.choice(seeds))
            for _ in range(dice.randrange(3)):
                body[dice.randrange(len(body))] = dice.choice(b"0123456789abcdef,;:mgGXZ")
            if body[:1] in (b"c", b"s", b"C", b"S", b"k", b"D") or body.startswith(b"vCont;") or body.startswith(b"P"):
                continue  # would let it run, or end it
            s.sendall(packet(bytes(body)))
            s.recv(65536)
        s.sendall(bytes(dice.randrange(256) for _ in range(100000)))
        # Behind the noise a conversation is possible again.  The noise may have begun a packet: end it first.
        s.sendall(b"#00" + packet(b"?"))
        text = b""
        while not re.search(rb"\$T05thread:[0-9a-f]+;#", text):
            piece = s.recv(65536)
            if not piece:
                return "the conversation ended: " + repr(text[-200:])
            text = text[-65536:] + piece
    return ""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(condition):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def gdb_command(case, program, script, connect):
    lines = ["set pagination off", "set confirm off", "set debuginfod enabled off", "set width 0", "file " + program]
    lines += connect + case.commands
    with open(script, "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")
    return ["gdb", "-q", "-nx", "-batch", "-x", script]


def interrupt_later(case, out, gdb):
    """Ctrl-C once the program has passed its first output."""
    if not case.interrupt:
        return
    if wait_for(lambda: b"value 42" in open(out, "rb").read()):
        time.sleep(1.0)
        gdb.send_signal(signal.SIGINT)


def main():
    name, program, vmm = sys.argv[1:4]
    case = CASES[name]
    if shutil.which("gdb") is None:
        print("gdb is not installed: apt install gdb")
        return 77
    if vmm == "native" and not case.native:
        print("says nothing about a native program")
        return 77
    folder = tempfile.mkdtemp(prefix="hpcvmm-gdb-")
    out, script = os.path.join(folder, "out"), os.path.join(folder, "script")
    launched = None
    said = open(out, "wb")
    if vmm == "native":
        connect = [f"set args {case.mode} > {out}", "set disable-randomization off", "starti"]
    else:
        where = str(free_port()) if case.port else os.path.join(folder, "socket")
        launched = subprocess.Popen([vmm, "launch", "--engine", sys.argv[4], "--gdb", where, "--", program, case.mode],
                                    stdout=said, stderr=said, cwd=folder)
        if not wait_for(lambda: b"waits for gdb" in open(out, "rb").read() or launched.poll() is not None):
            print("hpc-vmm did not wait for gdb")
        if not case.port:
            wait_for(lambda: os.path.exists(where) or launched.poll() is not None)
        time.sleep(0.1)
        connect = ["target remote " + (":" + where if case.port else where)]
    failures = []
    if name == "noise":
        said_wrong = noise(where)
        failures += [said_wrong] if said_wrong else []
        connect = []
    gdb = subprocess.Popen(gdb_command(case, program, script, connect), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           stdin=subprocess.DEVNULL, cwd=folder)
    interrupt_later(case, out, gdb)
    try:
        text = gdb.communicate(timeout=PATIENCE_S)[0].decode(errors="replace")
    except subprocess.TimeoutExpired:
        gdb.kill()
        text = gdb.communicate()[0].decode(errors="replace")
        failures.append("gdb did not come to an end")
    status = case.status
    if launched is not None:
        try:
            status = launched.wait(timeout=10)
        except subprocess.TimeoutExpired:
            launched.kill()
            launched.wait()
            failures.append("the program did not end with gdb")
    printed = open(out, encoding="utf-8", errors="replace").read()
    at = 0
    for wanted in case.expect:  # in this order
        found = re.search(wanted, text[at:])
        if found is None:
            failures.append(f"gdb did not say /{wanted}/ (in its place)")
        else:
            at += found.end()
    failures += [f"the program did not print /{w}/" for w in case.said if not re.search(w, printed)]
    if status != case.status:
        failures.append(f"status {status}, not {case.status}")
    if not failures:
        shutil.rmtree(folder)
        return 0
    if vmm == "native" and "write extended state status" in text:
        print("skipped: this gdb cannot write the floating-point registers of a native program on this CPU (AMX)")
        shutil.rmtree(folder)
        return 77
    print("\n".join(failures), "\n--- gdb\n" + text, "--- program\n" + printed, "--- kept in " + folder, sep="\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
