#!/usr/bin/python3
"""discover.py BIN-FOLDER CASE...

Nodes of a real cluster find each other by multicast; no node is told of another.  Needs root.

ipv4     three nodes on DPDK: all up in two seconds, a program runs on each, a killed node is noticed and comes back as it was
ipv6     three nodes on kernel UDP over IPv6
claimed  an hpcd that claims another node's number says so and ends with status 3; nobody else is disturbed
stranger an hpcd with another key is not let in
"""
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import balance  # noqa: E402  (found through the line above)

TWO_SECONDS = 2.0


def states(cluster):
    return {n["id"]: n["state"] for n in cluster.ask("nodes")["nodes"]}


def all_up(cluster):
    return states(cluster) == {1: "up", 2: "up", 3: "up"}


def found_each_other(cluster):
    """Seconds from the first node that was ready to the last that had heard of all others, by the nodes' own logs."""
    ready, met = [], []
    for log in cluster.run.glob("*/hpcd.log"):
        for line in log.read_text().splitlines():
            stamp = time.mktime(time.strptime(line[:19], "%Y-%m-%d %H:%M:%S")) + float("0" + line[19:23])
            if " ready " in line:
                ready.append(stamp)
            elif "node is up" in line:
                met.append(stamp)
    if len(ready) != 3 or len(met) != 6:
        raise balance.Failure(f"{len(ready)} nodes ready, {len(met)} of 6 meetings in the logs")
    return max(met) - min(ready)


def ipv4(cluster):
    took = found_each_other(cluster)
    if took > TWO_SECONDS:
        raise balance.Failure(f"three nodes found each other in {took:.2f} s")
    for node in (1, 2, 3):
        where = cluster.verb("launch", "--node", node, "--", "cat", "/proc/self/hpc/where").stdout.strip()
        if where != str(node):
            raise balance.Failure(f"launch --node {node} ran on node {where}")
    if [line.split()[0] for line in cluster.verb("showmap").stdout.splitlines()[3:]] != ["1"]:
        raise balance.Failure("showmap: " + cluster.verb("showmap").stdout)
    os.kill(cluster.hpcd(3), signal.SIGKILL)
    balance.until("the killed node is down", lambda: states(cluster)[3] == "down", 20)
    balance.start(cluster, 3)
    balance.until("it is back by its number", lambda: all_up(cluster), 15)
    print(f"ipv4: found each other in {took:.2f} s")


def ipv6(cluster):
    took = found_each_other(cluster)
    if took > TWO_SECONDS:
        raise balance.Failure(f"three nodes found each other in {took:.2f} s")
    if not all(n["address"].startswith("[") for n in cluster.ask("nodes")["nodes"]):
        raise balance.Failure("an address is not IPv6")
    print(f"ipv6: found each other in {took:.2f} s")


def fourth(cluster, number, key):
    """An hpcd in node 3's namespace, on another port: its process, and where its log is."""
    folder = cluster.work / "fourth"
    folder.mkdir()
    text = (cluster.run / "3" / "hpcd.toml").read_text()
    kept = [line for line in text.splitlines()
            if line.split(" ")[0] not in ("node", "address", "driver", "devargs", "run_dir", "state_dir", "key", "metrics")]
    kept = [f"node = {number}", 'address = "10.77.0.3:7300"', 'driver = "udp"', f'run_dir = "{folder}"', f'state_dir = "{folder}"',
            f'key = "{key}"', *kept]
    (folder / "hpcd.toml").write_text("\n".join(kept) + "\n")
    with open(folder / "log", "wb") as log:
        child = subprocess.Popen(["nsenter", f"--net=/run/netns/hpcvmm-{cluster.name}-3", cluster.work / "hpcd", "--config",
                                  folder / "hpcd.toml"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    return child, folder / "log"


def claimed(cluster):
    child, log = fourth(cluster, 2, next(cluster.run.glob("*key*"), cluster.run / "key"))
    try:
        status = child.wait(20)
    except subprocess.TimeoutExpired:
        raise balance.Failure("it did not end: " + log.read_text()[-600:]) from None
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    if status != 3 or "number" not in log.read_text():
        raise balance.Failure(f"status {status}: " + log.read_text()[-600:])
    if not all_up(cluster):
        raise balance.Failure(f"others were disturbed: {states(cluster)}")


def stranger(cluster):
    key = cluster.work / "other.key"
    key.write_bytes(os.urandom(32))
    key.chmod(0o600)
    child, log = fourth(cluster, 4, key)
    try:
        time.sleep(3)
        if child.poll() is not None:
            raise balance.Failure("it ended: " + log.read_text()[-600:])
        if states(cluster) != {1: "up", 2: "up", 3: "up"}:
            raise balance.Failure(f"it was let in: {states(cluster)}")
    finally:
        child.terminate()
        child.wait(20)


CASES = {"ipv4": (ipv4, ["--discover"]), "ipv6": (ipv6, ["--discover", "--ipv6"]),
         "claimed": (claimed, ["--discover", "--driver", "udp"]), "stranger": (stranger, ["--discover", "--driver", "udp"])}


def main():
    bins = pathlib.Path(sys.argv[1])
    for name in sys.argv[2:]:
        check, options = CASES[name]
        with tempfile.TemporaryDirectory(prefix="hpc-vmm-discover-") as folder:
            work = pathlib.Path(folder)
            work.chmod(0o755)
            try:
                with balance.Cluster(bins, work, options) as cluster:
                    check(cluster)
            except balance.Failure as failure:
                print(f"{name}: {failure}")
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
