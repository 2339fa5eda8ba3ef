"""CRIU's lazy migration of a process: dumped, its pages served on demand over TCP, restored, all on this machine."""
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import measure
from cluster import Gaps

PORT = 27411


def errors_of(text):
    return "; ".join([line.strip() for line in text.splitlines() if "Error" in line][-3:]) or "it names no error"


def said(folder, name):
    """What went wrong, by a log of CRIU's."""
    try:
        return errors_of(pathlib.Path(folder, f"{name}.log").read_text(errors="replace", encoding="utf-8"))
    except OSError as reason:
        return str(reason)


def missing():
    """Why CRIU cannot be measured here, in its own words; empty if it can."""
    if not shutil.which("criu"):
        return "criu is missing: apt-get install criu"
    done = subprocess.run(["criu", "check"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    if done.returncode != 0:
        version = measure.output(["criu", "--version"]).split()[1]
        return f"criu {version} does not work on Linux {os.uname().release}: {errors_of(done.stderr + done.stdout)}"
    return ""


def migrate(program, mib, what):
    """{"gap_ms": the longest gap the program saw, "total_ms": from the dump to the last page}."""
    with tempfile.TemporaryDirectory(prefix="hpcvmm-criu-") as folder:
        helpers = []
        with open(f"{folder}/out", "wb") as out:
            process = subprocess.Popen([program, str(mib), what], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                       start_new_session=True)
        try:
            wait_for(lambda: b"READY" in pathlib.Path(folder, "out").read_bytes(), "it did not get ready")
            begin = time.monotonic_ns()
            # It serves the pages until all are gone, and keeps the stopped process until then; hence the restored one, which
            # has the same number, lives in a PID namespace of its own.
            helpers.append(start(folder, "dump", "-t", str(process.pid), "--lazy-pages", "--address", "127.0.0.1", "--port",
                                 str(PORT)))
            wait_for(lambda: listening() or helpers[0].poll() is not None, "criu dump does not serve pages")
            if helpers[0].poll():
                raise measure.Failed(f"criu dump: {said(folder, 'dump')}")
            helpers.append(start(folder, "lazy-pages", "--page-server", "--address", "127.0.0.1", "--port", str(PORT)))
            wait_for(lambda: os.path.exists(f"{folder}/lazy-pages.socket"), "criu lazy-pages does not start")
            helpers.append(start(folder, "restore", "--lazy-pages", before=("unshare", "--pid", "--fork", "--kill-child",
                                                                            "--mount-proc")))
            if helpers[1].wait(60) != 0:
                raise measure.Failed("; ".join(f"{what}: {said(folder, what)}" for what in ("dump", "lazy-pages", "restore")))
            end = time.monotonic_ns()
            time.sleep(0.1)
            for pid in restored(helpers[2].pid, program):
                os.kill(pid, signal.SIGTERM)
            if helpers[2].wait(30) != 0:
                raise measure.Failed(f"criu restore: {said(folder, 'restore')}")
            with open(f"{folder}/out", encoding="ascii") as lines:
                gaps = Gaps(lines.read().splitlines())
            if not gaps.intact:
                raise measure.Failed("after CRIU's restore its memory was not intact")
            return {"gap_ms": gaps.longest_ms(begin, end), "total_ms": (end - begin) / 1e6}
        finally:
            for helper in [process, *helpers]:
                helper.kill()
                helper.wait()


def start(folder, what, *words, before=()):
    return subprocess.Popen([*before, "criu", what, "-D", folder, "-o", f"{what}.log", "-v1", *words],
                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def restored(pid, program):
    """Processes that run the program below a process."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
        for child in map(int, children.read().split()):
            if os.readlink(f"/proc/{child}/exe") == os.path.realpath(program):
                yield child
            yield from restored(child, program)


def listening():
    with open("/proc/net/tcp") as table:
        return any(f":{PORT:04X} " in line and " 0A " in line for line in table)


def wait_for(condition, why, limit=30):
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            raise measure.Failed(why)
        time.sleep(0.005)
