#!/usr/bin/python3
"""Runs the sessions of sessions.toml natively and in `hpc-vmm shell` over several nodes, and compares what they print.

run.py [--only NAME]... [--full] [--nodes N] [--cpus LIST] [--policy P] [--on-one-node] [--jobs N] [--json] [--list]

Makes a cluster of its own (--cluster names it) unless one of that name is up, and ends what it made.  Prints a table:
name, result, seconds natively and in the shell, the processes that were
seen, those of them that ran away from home, and the most moves of one.
--on-one-node: the shell's processes stay on node 1 (policy static), the floor that speed is compared with.
Exit 1 on any difference, whose folder is kept and named.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent / "guest"))
import run_guest  # noqa: E402  (found through the line above)

SOURCES = ROOT / "images" / "cache" / "sources"


def load():
    with open(HERE / "sessions.toml", "rb") as file:
        return tomllib.load(file)["session"]


class Cluster:
    """`hpc-vmm up`, with nodes as asked; left alone when it was there before."""

    def __init__(self, args):
        self.vmm, self.made = args.hpc_vmm, False
        self.environment = dict(os.environ, HPCVMM_CLUSTER=args.cluster)
        if self.ask("nodes") is None:
            up = [self.vmm, "up", "--nodes", str(args.nodes)]
            if args.cpus:
                up += ["--cpus", args.cpus]
            if args.policy or args.on_one_node:
                up += ["--policy", "static" if args.on_one_node else args.policy]
            subprocess.run(up, env=self.environment, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            self.made = True

    def ask(self, *verb):
        done = subprocess.run([self.vmm, *verb, "--json"], env=self.environment, capture_output=True, stdin=subprocess.DEVNULL,
                              timeout=60)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def end(self):
        if self.made:
            subprocess.run([self.vmm, "down"], env=self.environment, check=True, stdin=subprocess.DEVNULL, timeout=120)


class Watch:
    """Looks at `ps` twice a second: which processes ran away from home, and how often they moved."""

    def __init__(self, cluster):
        self.cluster, self.seen, self.stop = cluster, {}, threading.Event()
        self.thread = threading.Thread(target=self.look)
        self.thread.start()

    def ps(self):
        """As `hpc-vmm ps`, without starting a program three times a second beside what is measured."""
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(f"/run/hpc-vmm-{self.cluster.environment['HPCVMM_CLUSTER']}/1/api.sock")
            s.sendall(b'{"op":"ps"}\n')
            return json.loads(s.makefile().readline())

    def look(self):
        while not self.stop.wait(0.3):
            for p in self.ps().get("processes", []):
                old = self.seen.get(p["pid"], (False, 0))
                self.seen[p["pid"]] = (old[0] or p["where"] != p["home"], max(old[1], p["migrations"]))

    def end(self):
        self.stop.set()
        self.thread.join()
        return {"seen": len(self.seen), "away": sum(away for away, _ in self.seen.values()),
                "most_moves": max((moves for _, moves in self.seen.values()), default=0)}


def run_one(session, args, cluster, base):
    row = {"name": session["name"], "result": "same", "native_s": 0.0, "shell_s": 0.0, "detail": []}
    work = base / session["name"]
    work.mkdir(parents=True, exist_ok=True)
    environment = {"SRC": str(HERE / "src"), "SAMPLES": str(ROOT / "build/release/samples"),
                   **session["full" if args.full else "small"], **({"JOBS": str(args.jobs)} if args.jobs else {})}
    if "source" in session:
        subprocess.run([HERE / "fetch_source.sh", session["source"], SOURCES], check=True)
        environment["SOURCE"] = str(SOURCES / session["source"])
    prepare = []
    if "setup" in session:
        inputs = work / "inputs"
        inputs.mkdir()
        subprocess.run(["/bin/bash", "-ec", session["setup"]], cwd=inputs, check=True, env=dict(os.environ, **environment))
        prepare = ["/bin/bash", "-c", 'cp -a "$0"/. . && exec "$@"', str(inputs)]
    timeout = args.timeout * (10 if args.full else 1)
    native = run_guest.Run("native", prepare + ["/bin/bash", "-ec", session["script"]], work, timeout, environment)
    watch = Watch(cluster)
    environment["HPCVMM_CLUSTER"] = args.cluster
    environment["SHELL"] = "/bin/bash"
    shell = run_guest.Run("shell", prepare + [args.hpc_vmm, "shell", "-c", "set -e\n" + session["script"]], work, timeout,
                          environment)
    row.update(watch.end(), native_s=round(native.seconds, 2), shell_s=round(shell.seconds, 2))
    found = run_guest.differences(native, shell)
    if native.end != "0" or not native.stdout:
        found.append(f"native: ended with {native.end}\n" + native.stderr.decode(errors="replace")[-500:])
    if session.get("spreads") and not row["away"] and not args.on_one_node and args.policy != "static":
        found.append("no process ran away from home")
    if found:
        row["result"], row["detail"] = "DIFFERENT", found + [f"kept: {work}"]
    else:
        shutil.rmtree(work, ignore_errors=True)
    return row


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", help="name of a session; may be repeated")
    parser.add_argument("--full", action="store_true", help="the long runs")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--cpus", default="", help="as for hpc-vmm up")
    parser.add_argument("--policy", default="", help="as for hpc-vmm up")
    parser.add_argument("--on-one-node", action="store_true")
    parser.add_argument("--jobs", type=int, default=0, help="for make; default: nproc, as the session sees it")
    parser.add_argument("--timeout", type=float, default=120, help="seconds for one quick run; ten times that for a full one")
    parser.add_argument("--cluster", default=os.environ.get("HPCVMM_CLUSTER", "sess"))
    parser.add_argument("--hpc-vmm", default=str(ROOT / "build/release/bin/hpc-vmm"))
    parser.add_argument("--work", type=pathlib.Path, help="work folder; a temporary one if absent")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--list", action="store_true", help="print the names, and end")
    args = parser.parse_args()
    if not re.fullmatch("[a-z][a-z0-9]{0,7}", args.cluster):
        parser.error("--cluster: 1 to 8 small letters and digits, a letter first")
    return args


def main():
    args = parse()
    sessions = load()
    if args.list:
        print("\n".join(s["name"] for s in sessions))
        return 0
    if args.only:
        unknown = set(args.only) - {s["name"] for s in sessions}
        if unknown:
            print("no such session: " + " ".join(sorted(unknown)), file=sys.stderr)
            return 2
        sessions = [s for s in sessions if s["name"] in args.only]
    base = args.work or pathlib.Path(tempfile.mkdtemp(prefix="sessions."))
    cluster = Cluster(args)
    rows = []
    try:
        if not args.json:
            print(f"{'session':14} {'result':10} {'native s':>9} {'shell s':>8} {'seen':>5} {'away':>5} {'moves':>5}")
        for session in sessions:
            row = run_one(session, args, cluster, base)
            rows.append(row)
            if not args.json:
                print(f"{row['name']:14} {row['result']:10} {row['native_s']:9.2f} {row['shell_s']:8.2f} {row['seen']:5} "
                      f"{row['away']:5} {row['most_moves']:5}", flush=True)
                print("".join(f"    {line}\n" for line in row["detail"][:60]), end="", flush=True)
    finally:
        cluster.end()
    if args.json:
        print(json.dumps(rows, indent=1))
    failed = any(row["result"] != "same" for row in rows)
    if not failed and not args.work:
        shutil.rmtree(base, ignore_errors=True)
    return 1 if failed or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
