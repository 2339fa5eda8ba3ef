#!/usr/bin/python3
"""names.py BIN-FOLDER GUEST ENGINE [--guest32 GUEST] [--rounds N] [--verbose]

Names and files that are looked up where a process runs: what it sees must be what it would see at home, while another
process changes everything; and it must not ask home for what does not change.  Natively first.  Needs root.
"""
import argparse
import difflib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time


class Failure(Exception):
    pass


class Cluster:
    def __init__(self, bins, work, verbose):
        self.vmm, self.verbose = bins / "hpc-vmm", verbose
        self.name = "n%d" % (os.getpid() % 1000000)
        self.env = dict(os.environ, HPCVMM_CLUSTER=self.name)
        # Where the remotes' user may read it.
        self.remote = work / "hpc-vmm"
        shutil.copy(self.vmm, self.remote)

    def verb(self, *words, ok=True):
        done = subprocess.run([self.vmm, *words], env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=90, check=False)
        if ok and done.returncode != 0:
            raise Failure(f"{' '.join(map(str, words))}: {done.stdout}{done.stderr}")
        return done

    def up(self):
        self.verb("up", "--nodes", "3", "--policy", "static", "--remote", str(self.remote))

    def down(self):
        self.verb("down", ok=False)

    def metric(self, node, name):
        text = subprocess.run(["curl", "-s", "--unix-socket", f"/run/hpc-vmm-{self.name}/{node}/metrics.sock", "http://x/metrics"],
                              capture_output=True, text=True, timeout=20, check=True).stdout
        for line in text.splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
        raise Failure(f"no metric {name} at node {node}")


def folder(work, name):
    path = work / name
    path.mkdir()
    return path


def move(cluster, pid, to):
    end = time.monotonic() + 20
    while True:
        done = cluster.verb("migrate", pid, to, ok=False)
        if done.returncode == 0:
            return
        # A child of fork tells hpcd of itself in its own time.
        if "not managed" not in done.stderr or time.monotonic() > end:
            raise Failure(f"migrate {pid} {to}: {done.stderr}")
        time.sleep(0.05)


def changes(cluster, guest, engine, work, rounds, native, way):
    """`way`: nodes of parent and child, or "tour": the child moves all the time."""
    # While it moves, the VMM's own descriptors come and go beside the guest's: for a moment a number may be taken.
    command = [guest, str(rounds)] + (["any"] if way == "tour" else [])
    if not native:
        command = [cluster.vmm, "launch", "--engine", engine, "--node", "2" if way == "both away" else "1", "--", *command]
    p = subprocess.Popen(command, env=cluster.env, cwd=folder(work, f"{'native' if native else way}".replace(" ", "-")),
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        first = p.stdout.readline().split()
        if first[:1] != ["pid"]:
            raise Failure(f"it began with {first}")
        child = first[1]
        if not native:
            move(cluster, child, "2")
        p.stdin.write("go\n")
        p.stdin.flush()
        moves = 0
        if not native and way == "tour":
            while p.poll() is None and moves < 60:
                done = cluster.verb("migrate", child, ("2", "3", "home")[moves % 3], ok=False)
                if done.returncode != 0 and "no process" not in done.stderr and p.poll() is None:
                    time.sleep(0.02)
                moves += 1
        out, _ = p.communicate(timeout=120)
    finally:
        if p.poll() is None:
            p.kill()
            p.wait()
    if p.returncode != 0 or out != f"{rounds} rounds the same, 0\n":
        raise Failure(f"{way}: status {p.returncode}\n{out}")


def threads(cluster, guest, engine, work):
    """Several threads look at once, into memory that is not there yet."""
    there = subprocess.run([cluster.vmm, "launch", "--engine", engine, "--node", "2", "--", guest, "threads", "150"], cwd=folder(work, "threads"),
                           env=cluster.env, capture_output=True, text=True, timeout=60, check=False)
    if there.returncode != 0 or there.stdout != "wrong 0\n":
        raise Failure(f"status {there.returncode}, {there.stdout}{there.stderr}")


def mixed(cluster, guest, engine, work):
    """A file that was opened where the process runs is there for calls of the other ABI."""
    native = subprocess.run([guest, "mixed"], cwd=folder(work, "native-mixed"), capture_output=True, text=True, timeout=60, check=True)
    there = subprocess.run([cluster.vmm, "launch", "--engine", engine, "--node", "2", "--", guest, "mixed"], cwd=folder(work, "mixed"),
                           env=cluster.env, capture_output=True, text=True, timeout=60, check=False)
    if there.returncode != 0 or there.stdout != native.stdout:
        raise Failure(f"status {there.returncode}, {there.stdout}{there.stderr}, natively {native.stdout}")


def layouts(cluster, guest, engine, work):
    """All that can be said of a file, and the rule for large ones, in the very same folder."""
    where = folder(work, "layouts")
    native = subprocess.run([guest, "layouts"], cwd=where, capture_output=True, text=True, timeout=60, check=True)
    there = subprocess.run([cluster.vmm, "launch", "--engine", engine, "--node", "2", "--", guest, "layouts"], cwd=where,
                           env=cluster.env, capture_output=True, text=True, timeout=60, check=False)
    if there.returncode != 0 or there.stdout != native.stdout:
        lines = difflib.unified_diff(native.stdout.splitlines(), there.stdout.splitlines(), "natively", "there", lineterm="", n=0)
        raise Failure(f"status {there.returncode} {there.stderr}\n" + "\n".join(lines))


def stays_there(cluster, guest, engine, work):
    """Calls about names and files that do not change stay where the process is."""
    times = 1000
    native = subprocess.run([guest, "look", str(times)], cwd=folder(work, "native-look"), capture_output=True, text=True, timeout=60, check=True)
    before = cluster.metric(1, "hpcd_records_in_total")
    there = subprocess.run([cluster.vmm, "launch", "--engine", engine, "--node", "2", "--", guest, "look", str(times)], cwd=folder(work, "look"),
                           env=cluster.env, capture_output=True, text=True, timeout=120, check=False)
    if there.returncode != 0 or there.stdout != native.stdout:
        raise Failure(f"status {there.returncode}, {there.stdout}{there.stderr}, natively {native.stdout}")
    records = cluster.metric(1, "hpcd_records_in_total") - before
    calls = 8 * times
    print(f"  {calls} calls about names and files: {records:.0f} records came home", flush=True)
    if records > calls / 8:
        raise Failure("they went home")
    if cluster.metric(1, "hpcd_names_told_total") == 0:
        raise Failure("home has told nothing")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[1])
    parser.add_argument("bins", type=pathlib.Path)
    parser.add_argument("guest", type=pathlib.Path)
    parser.add_argument("engine")
    parser.add_argument("--guest32", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=150)
    parser.add_argument("--verbose", action="store_true")
    o = parser.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="hpc-vmm-names-"))
    work.chmod(0o755)
    cluster = Cluster(o.bins.resolve(), work, o.verbose)
    guests = [o.guest.resolve()] + ([o.guest32.resolve()] if o.guest32 else [])
    failed = 0
    try:
        for guest in guests:
            place = folder(work, guest.name)
            changes(cluster, guest, o.engine, place, o.rounds, True, "native")
        cluster.up()
        for guest in guests:
            place = work / guest.name
            for what, run in [("looks at what does not change", lambda: stays_there(cluster, guest, o.engine, place)),
                              ("looks with every structure", lambda: layouts(cluster, guest, o.engine, place)),
                              ("makes calls of both ABIs", lambda: mixed(cluster, guest, o.engine, place)),
                              ("looks with four threads", lambda: threads(cluster, guest, o.engine, place))] + [
                    (f"looks at what changes, {way}", lambda way=way: changes(cluster, guest, o.engine, place, o.rounds, False, way))
                    for way in ("child away", "both away", "tour")]:
                if "both ABIs" in what and guest != guests[0]:
                    continue  # an x86-64 program that makes the other's calls
                try:
                    began = time.monotonic()
                    run()
                    print(f"ok      {guest.name} {what}, {time.monotonic() - began:.1f} s", flush=True)
                except (Failure, subprocess.SubprocessError) as e:
                    failed += 1
                    print(f"FAILED  {guest.name} {what}: {e}", flush=True)
    finally:
        cluster.down()
        shutil.rmtree(work, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
