#!/usr/bin/python3
"""times.py BIN-FOLDER

`time` on a cluster: what bash's `time`, `times`, /usr/bin/time (where it is installed), /proc and `--json` say of programs that computed on
another node, against the same natively.  Needs root; makes a cluster of its own.

That a program was away is seen from the host kernel's own figure of the deputies, which is what they would say without the time away.
"""
import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import tempfile

AWK = "awk 'BEGIN { for (i = 0; i < 12000000; i++) x += i % 7; print x }'"
FORMAT = "TIMEFORMAT='T %U %S %R'; "

# Name; script; options of launch.  Each line "T USER SYSTEM ..." of stderr, and "TICKS USER SYSTEM", is a figure.
CASES = [
    ("time of a child", FORMAT + f"time {AWK}", ["--node", "2"]),
    ("time of a pipe", FORMAT + f"time {AWK} | cat", ["--node", "2"]),
    ("time of a grandchild", FORMAT + f"time (: ; {AWK}; :)", ["--node", "3"]),
    ("time of what taskset moves", FORMAT + f"time $MOVE {AWK}", []),
    ("time after exec", f"bash -c \"exec {AWK.replace('$', chr(92) + '$')}\"; times > >(sed -n 2p)", ["--node", "2"]),
    ("the shell's own", "for ((i = 0; i < 1500000; i++)); do :; done; times > >(sed -n 1p)", ["--node", "2"]),
    ("/proc of the shell", f"{AWK}; set -- $(cat /proc/$$/stat); echo \"TICKS ${{16}} ${{17}}\"", ["--node", "2"]),
]
if shutil.which("/usr/bin/time"):
    CASES.append(("/usr/bin/time", f"/usr/bin/time -f 'T %U %S' {AWK}", ["--node", "2"]))


def figure(text):
    """Seconds of CPU time in what a script has printed."""
    if m := re.search(r"^T ([\d.]+) ([\d.]+)", text, re.M):
        return float(m[1]) + float(m[2])
    if m := re.search(r"^TICKS (\d+) (\d+)", text, re.M):
        return (int(m[1]) + int(m[2])) / 100
    if m := re.search(r"^(\d+)m([\d.]+)s (\d+)m([\d.]+)s$", text, re.M):
        return 60 * (int(m[1]) + int(m[3])) + float(m[2]) + float(m[4])
    return None


def run(command, env):
    """What it has printed, and the CPU time that this host's kernel gives for it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def once(vmm, env, summary, move, name, script, options):
    """Whether the figures are right, and whether the program was away: at home they would be right without any help."""
    native, _ = run(["/bin/bash", "-c", script], env)
    summary.unlink(missing_ok=True)
    guest, home = run([vmm, "shell", *options, "--json", "--summary-file", str(summary), "-c", script], dict(env, MOVE=move))
    should, told = figure(native.stderr + native.stdout), figure(guest.stderr + guest.stdout)
    ends = [json.loads(line) for line in summary.read_text().splitlines()]
    known = max(sum(end[k] for k in ("user_s", "system_s", "children_user_s", "children_system_s")) for end in ends)
    right = bool(guest.returncode == 0 and should and told and 0.5 * should < told < 2.5 * should + 0.1 and known > 0.5 * should)
    away = bool(should) and home < 0.5 * should + 0.25
    print(f"{'ok' if right and away else 'AT HOME' if right else 'FAILED':7} {name}: natively {should}, told {told}, summary {known:.2f}; "
          f"home's kernel: {home:.2f}", flush=True)
    if not right:
        print(guest.stdout[-300:], guest.stderr[-600:])
    return right, away


def any_try(*case):
    """Wrong figures fail at once.  A program that stayed at home proves nothing: again, twice at most."""
    for _ in range(3):
        right, away = once(*case)
        if not right or away:
            return right
    return False


def main():
    vmm = str(pathlib.Path(sys.argv[1]) / "hpc-vmm")
    env = dict(os.environ, HPCVMM_CLUSTER="times", SHELL="/bin/bash", MOVE="", LC_ALL="C")
    failed = 0
    with tempfile.TemporaryDirectory(prefix="times.") as work:
        subprocess.run([vmm, "up", "--nodes", "3", "--policy", "static"], env=env, check=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL)
        try:
            nodes = json.loads(subprocess.run([vmm, "nodes", "--json"], env=env, check=True, capture_output=True).stdout)
            cpus = next(n["cpus"] for n in nodes["nodes"] if n["id"] == 1)
            for name, script, options in CASES:
                failed += not any_try(vmm, env, pathlib.Path(work) / "summary", f"taskset -c {cpus}", name, script, options)
        finally:
            subprocess.run([vmm, "down"], env=env, check=False, stdin=subprocess.DEVNULL, timeout=120)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
