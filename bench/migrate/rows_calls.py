"""Rows: a forwarded system call, a remote page fault, computing after a move."""
import argparse
import ctypes
import re
import statistics
import struct
import time

import measure
import raw
from measure import Result

PAGE = 4096


def round_trip(what):
    """us of the driver the cluster uses by default, between two namespaces, no transport above it."""
    # Not shorter: memif's ends take up to half a second to find each other.
    args = argparse.Namespace(seconds=1.0, frame=0)
    binary = str(measure.BUILD / "bin" / "hpc-vmm-net-raw")
    with raw.Lab() as lab:
        found = raw.measure(lab, binary, "memif", what, args)["value"]
    if found <= 0:
        raise measure.Failed("hpc-vmm-net-raw measured no round trip over memif")
    return found


def calls(ctx):
    program = [str(measure.BUILD / "bench" / "calls.64"), "getppid"]
    scale = dict(ctx.environment, BENCH_SCALE="0.02" if ctx.tiny else "0.5")
    away, floor, blocking, local = [], [], [], []
    for _ in range(ctx.repeat):
        local.append(measure.value(ctx.cluster.words(program), env=scale))
        away.append(measure.value(ctx.cluster.words(program, node=2), env=scale))
        floor.append(local[-1] + round_trip("rtt_us"))
        blocking.append(local[-1] + round_trip("rtt_block_us"))
    asleep = statistics.median(a / b for a, b in zip(away, blocking))
    yield Result("call", "getppid() from a remote process", "us", away, "raw round trip, polling, + the same call at home",
                 floor, goal=1.3, note=f"at home {measure.number(statistics.median(local))} us; {asleep:.2f} x where "
                 "the raw round trip sleeps at every empty poll")


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("bytes", ctypes.c_size_t)]


def write_word(pid, address, value):
    """Writes into a guest's memory through its deputy, as a debugger would: the page comes home for it."""
    libc = ctypes.CDLL(None, use_errno=True)
    data = ctypes.create_string_buffer(struct.pack("<Q", value), 8)
    mine, its = Iovec(ctypes.addressof(data), 8), Iovec(address, 8)
    if libc.process_vm_writev(pid, ctypes.byref(mine), 1, ctypes.byref(its), 1, 0) != 8:
        raise measure.Failed(f"process_vm_writev into {pid}: error {ctypes.get_errno()}")


def touched(guest, line):
    guest.say(line)
    found = guest.expect(r"TOUCHED (\d+) ([0-9.]+) ([0-9.]+) (\d+)")
    if found[4] != "0":
        raise measure.Failed(f"fault: {found[4]} pages held something else than was written ({line})")
    return int(found[1]), float(found[2]), float(found[3])


def fault(ctx):
    count, step = (32, 16) if ctx.tiny else (256, 16)
    times, slow, floor, blocking = [], [], [], []
    local = 0.0
    with ctx.cluster.launch([measure.program("fault"), str(count * step // 256)]) as guest:
        place = int(guest.expect(r"AT (\d+) \d+")[1])
        guest.move(2)
        for turn in range(1, ctx.repeat + 1):
            local = measure.value([measure.program("uffd"), "256"])
            # Twice home and back, so that the first pass's set-up is not counted.
            for value in (2 * turn - 1, 2 * turn):
                for i in range(count):
                    write_word(guest.pid, place + i * step * PAGE + 8, value)
                faults, median, high = touched(guest, f"touch 0 {step} {count} {value} {local:.3f}")
            if faults < count * 0.9:
                raise measure.Failed(f"fault: only {faults} of {count} pages had to be fetched")
            times.append(median)
            slow.append(high)
            floor.append(local + round_trip("rtt_us"))
            blocking.append(local + round_trip("rtt_block_us"))
        guest.stdin.close()
        guest.wait(60)
    asleep = statistics.median(a / b for a, b in zip(times, blocking))
    yield Result("fault", "remote page fault: a page that home had taken", "us", times,
                 "raw round trip, polling, + local userfaultfd service", floor, goal=1.5,
                 note=f"p99 {measure.number(statistics.median(slow))} us; {asleep:.2f} x where the raw round trip sleeps")
    yield from fault_in_fill(ctx, floor, local)


def fault_in_fill(ctx, floor, local):
    """Demand faults right after a post-copy switch, while the rest of the memory is pushed."""
    mib = 64 if ctx.tiny else 512
    pages, count = mib * 256, 512
    step = 4099  # scattered, and never the neighbour that came along
    times, slow, shares = [], [], []
    # A page that has arrived costs the guest its first touch, as natively; what takes longer had to be fetched.
    first = measure.value(ctx.cluster.words([str(measure.BUILD / "bench" / "touch.64"), "4k"], engine="kvm"),
                          env=dict(ctx.environment, BENCH_SCALE="0.25"))
    least = max(local, 2 * first)
    with ctx.cluster.launch([measure.program("fault"), str(mib)]) as guest:
        guest.expect(r"AT \d+ \d+")
        for attempt in range(max(10, 4 * ctx.repeat)):
            guest.say(f"moved {attempt * 17} {step} {count} 0 {least:.3f}")
            guest.move(2, "postcopy")
            found = guest.expect(r"TOUCHED (\d+) ([0-9.]+) ([0-9.]+) (\d+)")
            guest.move("home")
            # None: what looked like the move was a pause of the machine, and the pages were touched at home.
            if int(found[1]) >= 16:
                times.append(float(found[2]))
                slow.append(float(found[3]))
                shares.append(int(found[1]) / count)
            if len(times) == ctx.repeat:
                break
        guest.stdin.close()
        guest.wait(60)
    if not times:
        raise measure.Failed("fault.fill: no page had to be fetched after any move")
    yield Result("fault.fill", f"remote page fault while {mib} MiB are pushed (post-copy)", "us", times,
                 "as above", floor[:len(times)],
                 note=f"p99 {measure.number(statistics.median(slow))} us; "
                 f"{100 * statistics.median(shares):.0f} % of the first {count} touches fault")


def parsed(text):
    """(begin_us, microseconds, checksum) of a line of crunch.c."""
    found = re.fullmatch(r"ROUND \d+ (\d+) ([0-9.]+) ([0-9a-f]+)", text)
    if not found:
        raise measure.Failed(f"crunch said {text!r}")
    return float(found[1]), float(found[2]), found[3]


def crunch(ctx, name, loops, targets, after, **more):
    """Moves a program of crunch.c to each target, lets it finish `after` rounds more, and runs it natively for as many
    rounds: (moves, the guest's rounds, native rounds)."""
    moves = []
    with ctx.cluster.launch([measure.program(name), "1000000", loops], **more) as guest:
        found = [parsed(guest.line())]
        for to in targets:
            moves.append(guest.move(to))
            time.sleep(0.02)
        while sum(begin * 1000 > moves[-1]["end_ns"] for begin, _, _ in found) < after:
            found.append(parsed(guest.line()))
        found += map(parsed, guest.end())
    native = measure.output([measure.program(name), str(len(found)), loops], env=more.get("env")).splitlines()
    native = [parsed(text) for text in native]
    if [check for _, _, check in native] != [check for _, _, check in found]:
        raise measure.Failed(f"{name}: its results differ from the native run's")
    return moves, found, native


def compute(ctx):
    loops, after = ("200000", 5) if ctx.tiny else ("1500000", 24)
    times, floor = [], []
    for _ in range(ctx.repeat):
        moves, found, native = crunch(ctx, "crunch.64", loops, (2,), after)
        there = [took for begin, took, _ in found if begin * 1000 > moves[0]["end_ns"]]
        times.append(statistics.median(there) / 1000)
        floor.append(statistics.median(took for _, took, _ in native) / 1000)
    yield Result("compute", "computing after the move", "ms", times, "native", floor, goal=1.02)
