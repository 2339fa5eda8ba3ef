#!/usr/bin/python3
"""view.py BIN-FOLDER TESTS-FOLDER ENGINE [--only NAME]... [--keep]

A cluster of three nodes as programs in `hpc-vmm shell` see it: numbers of CPUs and memory by every way that programs
ask, CPU affinity that moves processes, nodes that leave and come back.  Needs root.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HOST_CPUS = len(os.sched_getaffinity(0))
NODES = 3


class Failure(Exception):
    pass


def until(what, check, seconds=20.0):
    end = time.monotonic() + seconds
    while not (found := check()):
        if time.monotonic() > end:
            raise Failure(f"after {seconds:.0f} s still not: {what}")
        time.sleep(0.05)
    return found


def equal(what, found, expected):
    if found != expected:
        raise Failure(f"{what}: {found!r}, expected {expected!r}")


class Lab:
    def __init__(self, bins, tests, engine, work):
        self.vmm, self.bins, self.engine, self.work = bins / "hpc-vmm", bins, engine, work
        self.name = "w%d" % (os.getpid() % 1000000)
        self.run_dir = pathlib.Path(f"/run/hpc-vmm-{self.name}")
        self.env = dict(os.environ, HPCVMM_CLUSTER=self.name, SHELL="/bin/bash")
        self.probes = {64: tests / "view_probe.64", 32: tests / "view_probe.32"}

    def verb(self, *words, check=False):
        done = subprocess.run([self.vmm, *map(str, words)], env=self.env, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=90, check=False)
        if check and done.returncode != 0:
            raise Failure(f"{words}: {done.returncode} {done.stdout}{done.stderr}")
        return done

    def shell(self, command, *options, engine=None):
        """What a command writes in `hpc-vmm shell`."""
        return self.verb("shell", "--engine", engine or self.engine, *options, "-c", command, check=True).stdout

    def probe(self, bits, *words):
        # kvm runs IA32 where the host's KVM does; auto decides as people's shells do.
        text = self.shell(f"{self.probes[bits]} {' '.join(map(str, words))}",
                          engine=self.engine if bits == 64 else "auto")
        return {line.split()[0]: line.split()[1:] for line in text.splitlines()}

    def nodes(self):
        return json.loads(self.verb("nodes", "--json", check=True).stdout)["nodes"]

    def where(self, pid):
        found = json.loads(self.verb("ps", "--json").stdout)["processes"]
        return next((p["where"] for p in found if p["pid"] == pid), None)

    def online(self):
        return (self.run_dir / "1/view/sys/devices/system/cpu/online").read_text().strip()


def check_numbers(lab):
    cpus = NODES * HOST_CPUS
    every = [str(i) for i in range(cpus)]
    memory = sum(n["memory_total"] for n in lab.nodes()) // 1024
    equal("nproc", lab.shell("nproc").strip(), str(cpus))
    equal("getconf", lab.shell("getconf _NPROCESSORS_ONLN").strip(), str(cpus))
    equal("python", lab.shell("python3 -c 'import os; print(os.cpu_count(), len(os.sched_getaffinity(0)))'").split(),
          [str(cpus)] * 2)
    for bits in (64, 32):
        seen = lab.probe(bits, "numbers")
        equal(f"{bits}: online, configured", seen["online"] + seen["configured"], [str(cpus)] * 2)
        equal(f"{bits}: affinity", seen["affinity"], every)
        equal(f"{bits}: node, where", seen["node"] + seen["where"], ["1", "1"])
        equal(f"{bits}: CPU that no node has", seen["nowhere"], ["-1"])
        if abs(int(seen["memory"][0]) - memory) > 8:
            raise Failure(f"{bits}: {seen['memory']} KiB of memory, expected {memory}")
    equal("unset", lab.shell("nproc", "--view", "host").strip(), str(HOST_CPUS))


def check_files(lab):
    cpus = NODES * HOST_CPUS
    equal("cpuinfo", lab.shell("grep -c ^processor /proc/cpuinfo").strip(), str(cpus))
    equal("stat", lab.shell("grep -c '^cpu[0-9]' /proc/stat").strip(), str(cpus))
    equal("status", lab.shell("grep Cpus_allowed_list /proc/self/status").split()[1], f"0-{cpus - 1}")
    equal("ls", lab.shell("cd /sys/devices/system/cpu; pwd -P; ls -d cpu[0-9]* | wc -l").split(),
          ["/sys/devices/system/cpu", str(cpus)])
    equal("relative", lab.shell("cd /; cat sys/devices/system/cpu/online; cd /proc; grep -c ^processor cpuinfo").split(),
          [f"0-{cpus - 1}", str(cpus)])
    equal("realpath", lab.shell("realpath /sys/devices/system/cpu/cpu5/node3").strip(), "/sys/devices/system/node/node3")
    equal("descriptor", lab.shell("exec 5< /sys/devices/system/cpu/online; readlink /proc/self/fd/5").strip(),
          "/sys/devices/system/cpu/online")
    if "cannot" not in lab.verb("shell", "-c", "echo 0 > /sys/devices/system/cpu/online").stderr.lower() + "cannot":
        raise Failure("a file of the view was written to")
    equal("written", lab.online(), f"0-{cpus - 1}")
    if float(lab.shell("cut -d' ' -f1 /proc/uptime")) > float(open("/proc/uptime").read().split()[0]):
        raise Failure("/proc/uptime is ahead of the host's")
    total = int(lab.shell("free -k").splitlines()[1].split()[1])
    if abs(total - sum(n["memory_total"] for n in lab.nodes()) // 1024) > 8:
        raise Failure(f"free says {total}")


def check_tools(lab):
    cpus = NODES * HOST_CPUS
    text = lab.shell("lscpu")
    native = subprocess.run(["lscpu"], capture_output=True, text=True, check=True).stdout
    keys = {line.split(":")[0].strip() for line in native.splitlines() if ":" in line}
    seen = dict((k.strip(), v.strip()) for k, v in (line.split(":", 1) for line in text.splitlines() if ":" in line))
    equal("lscpu CPU(s)", seen["CPU(s)"], str(cpus))
    equal("lscpu NUMA node(s)", seen["NUMA node(s)"], str(NODES))
    equal("lscpu NUMA node2", seen["NUMA node2 CPU(s)"], ",".join(map(str, range(HOST_CPUS, 2 * HOST_CPUS))))
    missing = {k for k in keys - set(seen) if not k.startswith("NUMA node") and not k.startswith("BogoMIPS")}
    if missing:
        raise Failure(f"lscpu does not say {missing}")
    text = lab.shell("numactl -H")
    equal("numactl nodes", re.search(r"available: (\d+) nodes", text)[1], str(NODES))
    equal("numactl cpus", re.search(r"node 3 cpus: (.*)", text)[1].split(), [str(2 * HOST_CPUS + i) for i in range(HOST_CPUS)])
    top = lab.shell("top -b -n 1 | head -20")
    if "Tasks:" not in top:
        raise Failure(f"top: {top}")
    # Bound, or it may be placed on another node.
    shown = lab.shell("taskset -c 0 sh -c 'sleep 7 & ps -o psr= -p $!'").split()
    if not shown or int(shown[0]) >= HOST_CPUS:
        raise Failure(f"ps says CPU {shown} of a process at home")


def check_affinity(lab):
    for bits in (64, 32):
        target = 2 * HOST_CPUS  # the first CPU of node 3
        seen = lab.probe(bits, "go", target)
        equal(f"{bits}: place", seen, {"affinity": [str(target)], "cpu": [str(target)], "node": ["3"], "where": ["3"]})
    equal("taskset nproc", lab.shell(f"taskset -c {HOST_CPUS} nproc").strip(), "1")
    seen = lab.shell(f"taskset -c {HOST_CPUS} {lab.probes[64]} numbers").split()
    equal("taskset where", seen[seen.index("where") + 1], "2")
    equal("children", lab.shell(f"taskset -c {HOST_CPUS} sh -c 'taskset -p $$ >/dev/null; (nproc)'").strip(), "1")
    threads = lab.shell(f"{lab.probes[64]} threads").splitlines()
    every = "affinity " + " ".join(map(str, range(NODES * HOST_CPUS)))
    equal("threads", threads, [every, "affinity 0 1", every])


def check_other_process(lab):
    """taskset -p on a running process moves it, from the shell and back."""
    process = subprocess.Popen([lab.vmm, "launch", "--engine", lab.engine, "--", lab.probes[64], "spin", "40"],
                               env=lab.env, stdin=subprocess.DEVNULL)
    try:
        until("it runs", lambda: lab.where(process.pid) == 1)
        lab.shell(f"taskset -pc {HOST_CPUS}-{2 * HOST_CPUS - 1} {process.pid}")
        equal("where", lab.where(process.pid), 2)
        said = lab.shell(f"taskset -pc {process.pid}").split(":")[1].strip()
        expected = ",".join(map(str, range(HOST_CPUS, 2 * HOST_CPUS)))
        if said not in (expected, f"{HOST_CPUS}-{2 * HOST_CPUS - 1}"):
            raise Failure(f"taskset -p says {said}")
        refused = lab.verb("migrate", process.pid, 3)
        if refused.returncode == 0 or "bound to CPUs" not in refused.stderr:
            raise Failure(f"migrate against the affinity: {refused.returncode} {refused.stderr}")
        time.sleep(1.5)
        away = int(lab.shell(f"cut -d' ' -f14 /proc/{process.pid}/stat"))
        psr = int(lab.shell(f"ps -o psr= -p {process.pid}"))
        if away < 5 or not HOST_CPUS <= psr < 2 * HOST_CPUS:
            raise Failure(f"/proc/PID/stat of a process away: {away} ticks, CPU {psr}")
        lab.shell(f"taskset -pc 0-{NODES * HOST_CPUS - 1} {process.pid}")
        lab.verb("migrate", process.pid, 3, check=True)
        # Nobody but the owner and root may.
        other = subprocess.run(["setpriv", "--reuid", "65534", "--clear-groups", lab.vmm, "shell", "--engine", lab.engine,
                                "-c", f"taskset -pc 0 {process.pid}"], env=lab.env, capture_output=True, text=True,
                               timeout=60, check=False)
        if other.returncode == 0:
            raise Failure("another user has bound the process")
    finally:
        process.kill()
        process.wait()


def check_options(lab):
    equal("--cpus", lab.verb("launch", "--engine", lab.engine, "--cpus", "1", "--", "nproc", check=True).stdout.strip(),
          "1")
    equal("--node", lab.verb("launch", "--engine", lab.engine, "--node", "2", "--", lab.probes[64], "go", HOST_CPUS,
                             check=True).stdout.split()[-1], "2")
    equal("status", lab.verb("shell", "-c", "exit 7").returncode, 7)
    none = subprocess.run([lab.vmm, "shell", "-c", "true"], env=dict(lab.env, HPCVMM_CLUSTER="nobody"),
                          capture_output=True, text=True, timeout=30, check=False)
    if none.returncode != 125 or "hpc-vmm up" not in none.stderr:
        raise Failure(f"without a cluster: {none.returncode} {none.stderr}")


def check_membership(lab):
    """A node is killed and comes back: its CPUs go and come, those of the others keep their numbers."""
    shell = subprocess.Popen([lab.vmm, "shell", "--engine", lab.engine, "-c",
                              "while read line; do nproc; cat /sys/devices/system/cpu/online; done"], env=lab.env,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask():
        shell.stdin.write("go\n")
        shell.stdin.flush()
        return [shell.stdout.readline().strip(), shell.stdout.readline().strip()]

    cpus, again = NODES * HOST_CPUS, None
    try:
        equal("before", ask(), [str(cpus), f"0-{cpus - 1}"])
        folder = lab.run_dir / "2"
        os.kill(int((folder / "hpcd.pid").read_text().split()[0]), signal.SIGKILL)
        left = f"0-{HOST_CPUS - 1},{2 * HOST_CPUS}-{cpus - 1}"
        until("the CPUs of node 2 are gone", lambda: lab.online() == left)
        equal("without node 2", ask(), [str(cpus - HOST_CPUS), left])
        log = open(folder / "hpcd.log", "ab")
        again = subprocess.Popen(["ip", "netns", "exec", f"hpcvmm-{lab.name}-2", lab.bins / "hpcd", "--config",
                                  folder / "hpcd.toml"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                 start_new_session=True)
        until("node 2 is back", lambda: lab.online() == f"0-{cpus - 1}", 40)
        equal("with node 2", ask(), [str(cpus), f"0-{cpus - 1}"])
        seen = lab.run_dir / "3/view/sys/devices/system/node/node2/cpulist"
        until("node 3 sees it again", seen.exists)
        equal("its numbers", seen.read_text().strip(), f"{HOST_CPUS}-{2 * HOST_CPUS - 1}")
    finally:
        shell.stdin.close()
        shell.wait(20)
        if again is not None:
            again.terminate()
            again.wait(30)


CHECKS = [check_numbers, check_files, check_tools, check_affinity, check_other_process, check_options, check_membership]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bins", type=pathlib.Path)
    parser.add_argument("tests", type=pathlib.Path)
    parser.add_argument("engine", choices=("kvm", "direct"))
    parser.add_argument("--only", action="append")
    args = parser.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="hpc-vmm-view-"))
    work.chmod(0o755)
    lab = Lab(args.bins.resolve(), args.tests.resolve(), args.engine, work)
    wrong = []
    try:
        lab.verb("up", "--nodes", NODES, check=True)
        for check in CHECKS:
            name = check.__name__.removeprefix("check_")
            if args.only and name not in args.only:
                continue
            begin = time.monotonic()
            try:
                check(lab)
                print(f"{name}: ok ({time.monotonic() - begin:.1f} s)", flush=True)
            except (Failure, OSError, KeyError, subprocess.SubprocessError) as f:
                wrong.append(name)
                print(f"{name}: {f}", flush=True)
    except Failure as f:
        wrong.append("up")
        print(f)
    finally:
        lab.verb("down")
        shutil.rmtree(work)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
