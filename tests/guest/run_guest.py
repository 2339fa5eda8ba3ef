#!/usr/bin/python3
"""Runs one guest test natively, or natively and under `hpc-vmm launch`, and compares.

run_guest.py --engine native|kvm|direct [--hpc-vmm PATH] [--expect STATUS] [--timeout S] [--work DIR] -- PROGRAM ARGS...

native: runs it twice; the two must agree (a test whose output varies compares nothing) and end as expected.
kvm, direct: stdout, stderr and wait status must equal those of a native run, bit for bit.
Exit: 0 equal, 1 different (the work folder is kept and named), 77 no /dev/kvm, 2 wrong use.
"""
import argparse
import difflib
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

SKIPPED = 77
# Fixed, so that a test may print its environment.
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/tmp",
    "LANG": "C",
    "LC_ALL": "C",
    "TERM": "dumb",
    "GUEST_TEST": "a value with spaces and = signs",
    "GUEST_EMPTY": "",
}


def end_of(status):
    """A wait status in words: "0", "3", "SIGABRT", "SIGSEGV (core)"."""
    if os.WIFEXITED(status):
        return str(os.WEXITSTATUS(status))
    return signal.Signals(os.WTERMSIG(status)).name + (" (core)" if os.WCOREDUMP(status) else "")


def wait_status(pid, timeout):
    """The raw wait status of `pid`, with the core bit that subprocess throws away; None after `timeout` seconds."""
    limit, pause = time.monotonic() + timeout, 0.001
    while time.monotonic() < limit:
        got, status = os.waitpid(pid, os.WNOHANG)
        if got == pid:
            return status
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
    return None


class Run:
    """One run of a command in a fresh current folder: what it wrote and how it ended."""

    def __init__(self, label, command, work, timeout, extra=None):
        self.label, self.command = label, command
        started = time.monotonic()
        folder = work / label
        shutil.rmtree(folder, ignore_errors=True)
        # The current folder has the same name in every run: programs print it.
        cwd = work / "cwd"
        shutil.rmtree(cwd, ignore_errors=True)
        cwd.mkdir(parents=True)
        folder.mkdir()
        with open(folder / "stdout", "wb") as out, open(folder / "stderr", "wb") as err:
            # A session of its own: job control tests see the same picture every time, and a run that hangs can be
            # ended together with what it started.
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=cwd,
                                     env=dict(ENVIRONMENT, PWD=str(cwd), **(extra or {})), start_new_session=True)
            self.status = wait_status(child.pid, timeout)
            if self.status is None:
                end_session(child.pid)
                os.waitpid(child.pid, 0)
            child.returncode = 0  # reaped above, subprocess need not look for it
        self.seconds = time.monotonic() - started
        self.end = "timeout" if self.status is None else end_of(self.status)
        self.stdout = (folder / "stdout").read_bytes()
        self.stderr = (folder / "stderr").read_bytes()
        cwd.rename(folder / "cwd")


def end_session(leader):
    """Kills every process of the session that `leader` began, the leader included."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if os.getsid(int(entry)) == leader:
                    os.kill(int(entry), signal.SIGKILL)
            except OSError:
                pass


def differences(first, second):
    """Lines that tell how two runs differ; empty if they do not."""
    found = []
    if first.end != second.end:
        found.append(f"status: {first.label} {first.end}, {second.label} {second.end}")
    for what in ("stdout", "stderr"):
        a, b = getattr(first, what), getattr(second, what)
        if a != b:
            found.append(f"{what}:")
            found += difflib.unified_diff(a.decode(errors="backslashreplace").splitlines(),
                                          b.decode(errors="backslashreplace").splitlines(),
                                          first.label, second.label, lineterm="", n=2)
    return found


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("native", "kvm", "direct"), required=True)
    parser.add_argument("--hpc-vmm", default="hpc-vmm")
    parser.add_argument("--expect", default="0", help="exit status or signal name of the native run")
    parser.add_argument("--timeout", type=float, default=60, help="seconds for one run")
    parser.add_argument("--work", type=pathlib.Path, help="work folder, removed after success")
    parser.add_argument("command", nargs="+")
    return parser.parse_args()


def main():
    args = parse()
    if args.engine == "kvm" and not os.path.exists("/dev/kvm"):
        print("skipped: there is no /dev/kvm on this machine")
        return SKIPPED
    work = args.work or pathlib.Path(tempfile.mkdtemp(prefix="guest."))
    work.mkdir(parents=True, exist_ok=True)
    native = Run("native", args.command, work, args.timeout)
    found = []
    if native.end.removesuffix(" (core)") != args.expect:
        found.append(f"native: ended with {native.end}, expected {args.expect}")
    if args.engine == "native":
        other = Run("again", args.command, work, args.timeout)
    else:
        # The host's view: a cluster that happens to be up here would show in what programs print.
        launch = [args.hpc_vmm, "launch", "--engine", args.engine, "--view", "host", "--"] + args.command
        other = Run(args.engine, launch, work, args.timeout)
    found += differences(native, other)
    if not found:
        shutil.rmtree(work, ignore_errors=True)
        return 0
    print("\n".join(found))
    if native.end != args.expect:
        sys.stdout.write(native.stdout.decode(errors="backslashreplace")[-4000:])
        sys.stdout.write(native.stderr.decode(errors="backslashreplace")[-2000:])
    print(f"command: {shlex.join(other.command)}\nkept:    {work}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
