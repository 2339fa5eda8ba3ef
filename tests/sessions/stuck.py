"""What a run that does not end is doing: for the tests that have a watchdog."""
import os
import pathlib
import subprocess


def lines_of(path):
    try:
        return pathlib.Path(path).read_text().rstrip()
    except OSError as e:
        return str(e)


def threads(pid):
    """State, wait channel, system call and kernel stack of each thread."""
    out = []
    for task in sorted(pathlib.Path(f"/proc/{pid}/task").glob("*")):
        state = lines_of(task / "stat").rpartition(")")[2].split()[:1]
        out.append(f"  thread {task.name} {lines_of(task / 'comm')} {state} {lines_of(task / 'wchan')} : {lines_of(task / 'syscall')}")
        out += ["      " + line for line in lines_of(task / "stack").splitlines()[:4]]
    return out


def user_stacks(pid):
    """gdb's view; it may fail on a process whose pages are away, and must not wait for them."""
    try:
        done = subprocess.run(["timeout", "-s", "KILL", "15", "gdb", "-nx", "-batch", "-p", str(pid), "-ex", "thread apply all bt 12"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False)
        return [line for line in done.stdout.splitlines() if line.startswith(("#", "Thread"))]
    except OSError as e:
        return [str(e)]


def sessions_of(leader):
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and os.getsid(int(entry)) == leader:
                found.append(int(entry))
        except OSError:
            pass
    return sorted(found)


def report(cluster, leader, path):
    """Writes to `path`, and prints the head of it: ps and why, the session's processes and those of the remotes."""
    pids = sessions_of(leader) or [leader]
    text = [f"session {leader}: {pids}", cluster.verb("ps").stdout]
    for p in cluster.processes():
        if p["pid"] in pids:
            text.append(f"{p}\n{cluster.verb('why', str(p['home']) + ':' + str(p['pid'])).stdout}")
    remotes = [int(e) for e in os.listdir("/proc") if e.isdigit() and lines_of(f"/proc/{e}/cmdline").startswith("hpc-vmm\0remote")]
    for pid in pids + remotes:
        kind = "remote" if pid in remotes else "process"
        text.append(f"{kind} {pid}: {lines_of(f'/proc/{pid}/cmdline')[:100]!r}")
        text += threads(pid)
    for pid in pids:
        text.append(f"stacks of {pid}")
        text += user_stacks(pid)
    path.write_text("\n".join(text) + "\n")
    print("\n".join(text[:60]), f"... the whole of it: {path}", sep="\n", flush=True)
