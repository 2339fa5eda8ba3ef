"""Rows: downtime, the gap a program sees, total time; QEMU and CRIU beside them."""
import statistics
import time

import criu
import measure
import qemu
import raw
from cluster import Gaps
from measure import Result, number

ROUND = (2, "home", 3, "home")  # both ways, and to both nodes


def size_name(mib):
    return f"{mib // 1024} GiB" if mib >= 1024 else f"{mib} MiB"


class Moved:
    """Figures of one process that was moved around."""

    def __init__(self, ctx, mib, what, targets):
        with ctx.cluster.launch([measure.program("dirty"), str(mib), what]) as guest:
            guest.expect("READY")
            self.moves = []
            for to in targets:
                self.moves.append(guest.move(to))
                time.sleep(0.05)
            gaps = Gaps(guest.end())
        if not gaps.intact:
            raise measure.Failed(f"dirty {mib} {what}: its memory was not intact after the moves")
        self.downtimes = [m["downtime_us"] / 1000 for m in self.moves]
        self.totals = [m["total_ms"] for m in self.moves]
        self.seen = [gaps.longest_ms(m["begin_ns"], m["end_ns"]) for m in self.moves]


class Peers:
    """QEMU's figures of the same size and load; nothing where it is missing."""

    def __init__(self, ctx):
        self.ctx = ctx
        self.why_not = qemu.missing() if ctx.peers else "not asked for"

    def run(self, mib, rate, mode, limit=30):
        """As qemu.migrate; None where there is no QEMU."""
        if self.why_not:
            return None
        try:
            with raw.Lab() as lab:
                found = qemu.migrate(lab, measure.program("guest.bin"), mib, rate, mode, limit)
        except (measure.Failed, OSError) as reason:
            self.ctx.remark(f"QEMU {mode}, {size_name(mib)}: no figure: {reason}")
            return None
        if found is not None:
            # It counts whole milliseconds, and says 0 below one.
            found["downtime_ms"] = max(found["downtime_ms"], 1)
        return found


def against(result, peer, key, base_what, goal):
    """The same row beside a peer's figures, one a repetition."""
    found = [p[key] for p in peer if p is not None and p[key] is not None]
    if not found or len(found) != len(result.values):
        return []
    return [Result(f"{result.id}", result.what, result.unit, result.values, base_what, found, goal=goal)]


def downtime(ctx):
    for mib in (8, 32) if ctx.tiny else (64, 1024, 4096):
        yield from downtime_of(ctx, mib)


def downtime_of(ctx, mib):
    peers = Peers(ctx)
    every, medians, seen, totals, out, postcopy = [], [], [], [], [], []
    for _ in range(ctx.repeat):
        moved = Moved(ctx, mib, "full", ROUND)
        every += moved.downtimes
        medians.append(statistics.median(moved.downtimes))
        seen.append(statistics.median(moved.seen))
        totals.append(statistics.median(moved.totals[::2]))
        out += moved.totals[::2]
        postcopy.append(peers.run(mib, 0, "postcopy"))
    size = size_name(mib)
    yield Result(f"downtime.{mib}", f"downtime, {size} dirtied at full speed", "ms", every, goal=2.0,
                 note=f"largest {number(max(every))} ms, {len(every)} moves, memory intact; "
                 f"total {number(statistics.median(out))} ms")
    yield from against(Result(f"downtime.{mib}.qemu", f"downtime, {size}", "ms", medians), postcopy, "downtime_ms",
                       "QEMU post-copy", 1.0)
    what = f"longest gap seen in a move, {size}"
    gap = against(Result(f"seen.{mib}", what, "ms", seen), postcopy, "gap_ms", "guest's under QEMU post-copy", 1.0)
    yield from gap or [Result(f"seen.{mib}", what, "ms", seen)]
    yield from against(Result(f"full.{mib}.qemu", f"total, {size} dirtied at full speed", "ms", totals), postcopy,
                       "total_ms", "QEMU post-copy", 1.0)
    if peers.why_not or mib > 1024:
        return
    limit = 5
    found = peers.run(mib, 0, "precopy", limit)
    figures = f"not over after {limit} s" if found is None else f"down {found['downtime_ms']} ms, total {found['total_ms']} ms"
    ctx.remark(f"QEMU pre-copy of {size} dirtied at full speed: {figures}")


def gap(ctx):
    moves, period = (5, 0.1) if ctx.tiny else (50, 0.2)
    command = [measure.program("dirty"), "0", "full"]
    with ctx.cluster.launch(command) as guest:
        guest.expect("READY")
        spans = []
        for i in range(moves):
            begin = time.monotonic_ns()
            guest.move((2, 3, "home")[i % 3])
            time.sleep(max(0, period - (time.monotonic_ns() - begin) / 1e9))
            spans.append((begin, time.monotonic_ns()))
        here = Gaps(guest.end())
    # The same loop natively, for as long; its spans are as long as those of the moves.
    with ctx.native(command) as native:
        native.expect("READY")
        begin = time.monotonic_ns()
        time.sleep((spans[-1][1] - spans[0][0]) / 1e9)
        shift = begin - spans[0][0]
        there = Gaps(native.end())
    guest_gaps = [here.longest_ms(*span) for span in spans]
    native_gaps = [there.longest_ms(a + shift, b + shift) for a, b in spans]
    yield Result("gap", f"longest gap the program sees, p99 of {moves} moves, beyond native", "ms",
                 [measure.percentile(guest_gaps, 0.99)], "the same loop natively", [measure.percentile(native_gaps, 0.99)],
                 relation="difference", goal=10.0,
                 note=f"median {number(statistics.median(guest_gaps))} ms, natively {number(statistics.median(native_gaps))} ms")


def summary(runs):
    """What a peer's total time does not say."""
    figures = [p for p in runs if p]
    if not figures:
        return "no figures"
    text = f"down {number(statistics.median(p['downtime_ms'] for p in figures))} ms"
    seen = [p["gap_ms"] for p in figures if p["gap_ms"] is not None]
    if seen:
        text += f", its guest saw a gap of {number(statistics.median(seen))} ms"
    if len(figures) < len(runs):
        text += f"; {len(runs) - len(figures)} of {len(runs)} not over after 30 s"
    return text


def total(ctx):
    mib = 16 if ctx.tiny else 512
    peers = Peers(ctx)
    copy, idle_values = [], []
    for what, rate in (("idle", None), ("100", 100)):
        values, theirs, stalls = [], {mode: [] for mode in qemu.MODES}, []
        for _ in range(ctx.repeat):
            moved = Moved(ctx, mib, what, (2, "home"))
            values.append(moved.totals[0])
            stalls.append(moved.downtimes[0])
            if what == "idle":
                copy.append(measure.value([measure.program("uffd"), "bulk", str(mib)]) / 1000)
                idle_values.append(moved.totals[0])
            for mode in qemu.MODES:
                theirs[mode].append(peers.run(mib, rate, mode))
        load = "idle" if rate is None else f"dirtying {rate} MiB/s"
        own = Result(f"total.{what}", f"total, {size_name(mib)}, {load}", "ms", values,
                     note="back home the same way, memory intact" if rate is None else
                     f"down {number(statistics.median(stalls))} ms, memory intact after the way back")
        found = against(own, theirs["precopy"], "total_ms", "QEMU pre-copy", 0.5)
        if found:
            found[0].note = own.note
        yield from found or [own]
        for mode in ("multifd", "postcopy"):
            more = Result(f"total.{what}.{mode}", own.what, "ms", values)
            yield from against(more, theirs[mode], "total_ms", f"QEMU {mode}", 1.0)
        if not peers.why_not:
            for mode in qemu.MODES:
                ctx.remark(f"QEMU {mode}, {size_name(mib)}, {load}: {summary(theirs[mode])}")
    yield Result("total.floor", f"total, {size_name(mib)}, idle", "ms", idle_values, "UFFDIO_COPY of as much in bulk", copy)
    if peers.why_not:
        ctx.remark(f"QEMU: {peers.why_not}")


def lazy(ctx):
    """CRIU's lazy migration of the same program."""
    if not ctx.peers:
        return
    mib = 512
    reason = criu.missing()
    if reason:
        ctx.remark(f"CRIU: {reason}")
        return
    ours, theirs, total_ours, total_theirs = [], [], [], []
    for _ in range(ctx.repeat):
        try:
            figures = criu.migrate(measure.program("dirty"), mib, "100")
        except (measure.Failed, OSError) as why:
            ctx.remark(f"CRIU: no figure: {why}")
            return
        moved = Moved(ctx, mib, "100", (2,))
        ours.append(moved.seen[0])
        theirs.append(figures["gap_ms"])
        total_ours.append(moved.totals[0])
        total_theirs.append(figures["total_ms"])
    yield Result("criu.seen", f"longest gap seen in a move, {size_name(mib)}, dirtying 100 MiB/s", "ms", ours,
                 "CRIU, lazy pages", theirs, goal=1.0)
    yield Result("criu.total", f"total, {size_name(mib)}, dirtying 100 MiB/s", "ms", total_ours, "CRIU, lazy pages",
                 total_theirs, goal=1.0)
