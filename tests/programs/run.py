#!/usr/bin/python3
"""Runs the programs of programs.toml natively and under hpc-vmm, and compares what they print and how they end.

run.py [--engine kvm|direct|both|native] [--only NAME]... [--hpc-vmm PATH] [--work DIR] [--json] [--list]

--engine native runs each program twice natively: it proves the table itself.  Prints a table (name, engine, result,
seconds native, seconds under hpc-vmm); exit 1 on any difference, whose work folder is kept and named.  Exit 77: only
the kvm engine was asked for and there is no /dev/kvm.
"""
import argparse
import json
import os
import pathlib
import shlex
import shutil
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

CACHE = ROOT / "images" / "cache"


def load():
    with open(HERE / "programs.toml", "rb") as file:
        return tomllib.load(file)["program"]


def engines_of(program):
    return program.get("engines", ["kvm", "direct"])


class Missing(Exception):
    """Something the program needs is not on this machine; the text says how to get it."""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Case:
    """One program and how to run it; `launch` is the command prefix of an engine, empty for a native run."""

    def __init__(self, program, work):
        self.program, self.work = program, work
        self.timeout = program.get("timeout", 120)
        self.environment = {"SOURCES": str(HERE / "src")}
        for key, variable in (("binary", "BINARY"), ("image", "IMAGE")):
            if key in program:
                folder = CACHE / program[key]
                if not folder.is_dir():
                    raise Missing(f"no {folder.relative_to(ROOT)}: run images/build.sh {program[key]}")
                self.environment[variable] = str(folder)

    def command(self, launch):
        if "python" in self.program:
            tests = self.program.get("tests", self.program["python"])
            without = [word for text in self.program.get("without", []) for word in ("--without", text)]
            return launch + ["/usr/bin/python3", str(HERE / "python_tests.py")] + without + tests
        if "image" in self.program:
            inside = ["/bin/sh", "-c", self.program["script"]]
            if not launch:
                # With /proc and /dev, as --image has them; in a mount namespace, so that nothing stays mounted.
                enter = 'mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$0" "$@"'
                return ["unshare", "-m", "/bin/sh", "-c", enter, self.environment["IMAGE"]] + inside
            return launch[:-1] + ["--image", self.environment["IMAGE"], "--"] + inside
        return launch + ["/bin/bash", "-ec", self.program["script"]]

    def run(self, label, launch):
        if "setup" in self.program:
            # The same inputs in both runs: made once, copied by a wrapper of its own before each.
            inputs = self.work / "inputs"
            if not inputs.exists():
                inputs.mkdir(parents=True)
                subprocess.run(["/bin/bash", "-ec", self.program["setup"]], cwd=inputs, check=True)
            prepare = ["/bin/bash", "-c", 'cp -a "$0"/. . && exec "$@"', str(inputs)]
        else:
            prepare = []
        if "server" in self.program:
            return self.run_server(label, launch)
        run = run_guest.Run(label, prepare + self.command(launch), self.work, self.timeout, self.environment)
        if "python" in self.program:
            results = self.work / label / "cwd" / "results.txt"
            run.stdout = results.read_bytes() if results.exists() else b"no results\n"
            run.stderr = b""  # messages hold times and addresses; the file is kept
        return run

    def run_server(self, label, launch):
        """The server in one folder in the background, its client natively; both must end well."""
        folder = self.work / (label + "-server")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        environment = dict(self.environment, PORT=str(free_port()))
        command = [environment["PORT"] if a == "$PORT" else a for a in shlex.split(self.program["server"])]
        with open(folder / "output", "wb") as output:
            server = subprocess.Popen(launch + command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output,
                                      stderr=output, env=dict(run_guest.ENVIRONMENT), start_new_session=True)
        try:
            run = run_guest.Run(label, ["/bin/bash", "-ec", self.program["client"]], self.work, self.timeout, environment)
            try:
                run.end += f", server {server.wait(timeout=20)}"
            except subprocess.TimeoutExpired:
                run.end += ", server still running"
        finally:
            if server.poll() is None:
                run_guest.end_session(server.pid)
                server.wait()
        return run


class Storm:
    """A patch bay in place of a cluster (tests/migrate), which moves every process that registers."""

    def __init__(self, args):
        self.home = 1000 + os.getpid() % 60000
        self.folder = pathlib.Path(f"/run/hpc-vmm/{self.home}")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [args.patchbay, str(self.folder / "vmm.sock"), args.hpc_vmm, "--storm", str(args.storm or 0), *shlex.split(args.bay)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        while not (self.folder / "vmm.sock").exists():
            if self.process.poll() is not None:
                raise RuntimeError("patchbay: " + self.process.stdout.read())
            time.sleep(0.01)
        self.at_calls = args.at_calls
        self.lines = []
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stdout))
        self.reader.start()

    def end(self):
        """How many moves were made, and what was refused: {reason: times}."""
        self.process.terminate()
        self.process.wait()
        self.reader.join()
        shutil.rmtree(self.folder, ignore_errors=True)
        refused = {}
        for line in self.lines:
            if line.startswith("moved "):
                reason = line.split(" bytes ")[1].split(" ", 1)[1].strip()
                refused[reason] = refused.get(reason, 0) + 1
        # Moves at calls are not asked for by message: they are known by what the processes say of themselves.
        counts = self.lines[-1].split()
        return {"made": int(counts[5 if self.at_calls else 1]), "refused": refused}


def outcomes(run):
    return dict(line.rsplit(": ", 1) for line in run.stdout.decode().splitlines() if ": " in line)


def retry_python(case, launch, native, other):
    """Runs only the tests that differed once more: tests with a race in them fail natively, too.  They are named, so
    that one that differs every time in a long run is seen."""
    a, b = outcomes(native), outcomes(other)
    differing = sorted(t for t in a.keys() | b.keys() if a.get(t) != b.get(t))
    if not differing or len(differing) > 20 or not all(t.startswith("test.") for t in differing):
        return native, other, []
    case.program = dict(case.program, tests=differing)
    notes = [f"once more alone: {t}: native {a.get(t)}, {other.label} {b.get(t)}" for t in differing]
    return case.run("native-again", []), case.run(other.label + "-again", launch), notes


def run_one(program, engine, args, base):
    work = base / f"{engine}.{program['name']}"
    row = {"name": program["name"], "engine": engine, "result": "same", "native_s": 0.0, "hpc_vmm_s": 0.0, "detail": []}
    launch = [] if engine == "native" else [args.hpc_vmm, "launch", "--engine", engine, "--"]
    storm = Storm(args) if (args.storm or args.at_calls) and launch else None
    if storm:
        launch[2:2] = ["--home", str(storm.home)]
    try:
        case = Case(program, work)
        work.mkdir(parents=True, exist_ok=True)
        native = case.run("native", [])
        other = case.run("again" if engine == "native" else engine, launch)
        row["native_s"], row["hpc_vmm_s"] = round(native.seconds, 2), round(other.seconds, 2)
        found = run_guest.differences(native, other)
        if found and "python" in program:
            again = retry_python(case, launch, native, other)
            found = run_guest.differences(*again[:2])
            row["detail"] = again[2]
        if native.status is None:
            found.append("the native run took too long")
        expected = program.get("expect", "0, server 0" if "server" in program else "0")
        if native.end != expected:
            # -e has ended the script early: what follows would not be compared.
            found.append(f"native: ended with {native.end}, expected {expected}\n" + native.stderr.decode()[-500:]
                         + native.stdout.decode(errors="replace")[-300:])
        if not native.stdout and program["name"] != "true":
            found.append("the native run printed nothing: it compares nothing")
    except Missing as missing:
        found = [str(missing)]
    finally:
        if storm:
            row["moves"] = storm.end()
    if found:
        row["result"], row["detail"] = "DIFFERENT", row["detail"] + found + [f"kept: {work}"]
    else:
        shutil.rmtree(work, ignore_errors=True)
    return row


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("kvm", "direct", "both", "native"), default="both")
    parser.add_argument("--only", action="append", help="name of a program; may be repeated")
    parser.add_argument("--hpc-vmm", default=str(ROOT / "build/release/bin/hpc-vmm"))
    parser.add_argument("--storm", type=int, metavar="MS",
                        help="move every process of the guest's between nodes each MS milliseconds meanwhile")
    parser.add_argument("--at-calls", type=int, metavar="N",
                        help="move every process of the guest's at each of its first N system calls")
    parser.add_argument("--bay", default="", help="options of patchbay, in one word: '--loss 1%% --reorder 1%% --seed 7'")
    parser.add_argument("--patchbay", default=str(ROOT / "build/release/tests/patchbay"))
    parser.add_argument("--work", type=pathlib.Path, help="work folder; a temporary one if absent")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--list", action="store_true", help="print name and engines of each program, and end")
    return parser.parse_args()


def main():
    args = parse()
    programs = load()
    if args.list:
        for program in programs:
            print(program["name"], *engines_of(program))
        return 0
    if args.only:
        unknown = set(args.only) - {p["name"] for p in programs}
        if unknown:
            print("no such program: " + " ".join(sorted(unknown)), file=sys.stderr)
            return 2
        programs = [p for p in programs if p["name"] in args.only]
    wanted = ["kvm", "direct"] if args.engine == "both" else [args.engine]
    if "kvm" in wanted and not os.path.exists("/dev/kvm"):
        print("no /dev/kvm on this machine: the kvm engine is left out", file=sys.stderr)
        wanted.remove("kvm")
        if not wanted:
            return run_guest.SKIPPED
    if args.at_calls:
        run_guest.ENVIRONMENT["HPCVMM_MOVE_AT_CALLS"] = str(args.at_calls)
    base = args.work or pathlib.Path(tempfile.mkdtemp(prefix="programs."))
    rows = []
    if not args.json:
        print(f"{'program':24} {'engine':7} {'result':10} {'native s':>9} {'hpc-vmm s':>10}")
    for program in programs:
        for engine in wanted:
            if engine != "native" and engine not in engines_of(program):
                continue
            row = run_one(program, engine, args, base)
            rows.append(row)
            if not args.json:
                print(f"{row['name']:24} {engine:7} {row['result']:10} {row['native_s']:9.2f} {row['hpc_vmm_s']:10.2f}"
                      + (f"  {row['moves']}" if "moves" in row else ""), flush=True)
                for line in row["detail"][:60]:
                    print("    " + line, flush=True)
    if args.json:
        print(json.dumps(rows, indent=1))
    failed = any(row["result"] != "same" for row in rows)
    if not failed and not args.work:
        shutil.rmtree(base, ignore_errors=True)
    return 1 if failed or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
