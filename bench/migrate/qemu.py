"""Live migration of a guest of src/guest.S between two QEMUs, in two network namespaces joined by a veth pair."""
import json
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import time

import measure

PROGRAM = "qemu-system-x86_64"
MIB = 1 << 20
LOW_BEGIN = 4 * MIB  # below lie the guest's own tables
HIGH_BEGIN = 4096 * MIB
LOW_MOST = 3072 * MIB  # of the machine "pc", when it has more than that
PAGE = 4096
READY, LAST, GAP_COUNT, GAPS = 0x8000, 0x8008, 0x8010, 0xa000
MODES = ("precopy", "multifd", "postcopy")


def missing():
    """Why QEMU cannot be measured here; empty if it can."""
    if not shutil.which(PROGRAM):
        return f"{PROGRAM} is missing: apt-get install qemu-system-x86"
    if not os.access("/dev/kvm", os.W_OK):
        return "there is no /dev/kvm to run a QEMU guest with"
    return ""


class Qmp:
    """One QEMU's control socket."""

    def __init__(self, path, process, limit=20):
        end = time.monotonic() + limit
        while True:
            self.socket = socket.socket(socket.AF_UNIX)
            try:
                self.socket.connect(path)
                break
            except OSError:
                self.socket.close()
                if process.poll() is not None or time.monotonic() > end:
                    raise measure.Failed(f"{PROGRAM} did not start; it says: {process.said()}") from None
                time.sleep(0.01)
        self.socket.settimeout(limit)
        self.lines = self.socket.makefile("r")
        self.lines.readline()
        self("qmp_capabilities")

    def __call__(self, command, **arguments):
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while True:
            line = self.lines.readline()
            if not line:
                raise measure.Failed(f"QEMU ended during {command}")
            answer = json.loads(line)
            if "error" in answer:
                raise measure.Failed(f"QEMU, {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def word(self, address):
        return self.words(address, 1)[0]

    def words(self, address, count):
        """64-bit words of the guest's memory."""
        text = self("human-monitor-command", **{"command-line": f"xp /{count}gx {address:#x}"})
        found = [int(word, 16) for line in text.splitlines() for word in re.findall(r"0x[0-9a-f]+", line.split(":", 1)[1])]
        if len(found) != count:
            raise measure.Failed(f"QEMU shows no memory at {address:#x}: {text}")
        return found

    def close(self):
        self.lines.close()
        self.socket.close()


class Process(subprocess.Popen):
    """A QEMU whose messages are kept."""

    def __init__(self, words, log):
        self.log = log
        with open(log, "wb") as out:
            super().__init__(words, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)

    def said(self):
        return pathlib.Path(self.log).read_text(errors="replace").strip()[-300:] or "nothing"


def image_for(image, path, mib, rate, hertz):
    """The firmware with its parameters filled in.  rate: MiB/s, 0 as fast as it can, None idle."""
    low_end = min(LOW_BEGIN + mib * MIB, LOW_MOST)
    rest = mib * MIB - (low_end - LOW_BEGIN)
    high = (HIGH_BEGIN, HIGH_BEGIN + rest) if rest else (0, 0)
    cycles = int(hertz / (rate * MIB / PAGE)) if rate else 0
    data = bytearray(pathlib.Path(image).read_bytes())
    if data[:8] != b"hpc-vmm!":
        raise measure.Failed(f"{image} is not what src/guest.S makes")
    struct.pack_into("<7Q", data, 8, LOW_BEGIN, low_end, *high, cycles, int(rate is None), int(hertz * 200e-6))
    pathlib.Path(path).write_bytes(data)


class Guest:
    """Source and destination of one migration; both are gone afterwards."""

    def __init__(self, lab, image, mib, rate):
        self.lab, self.image, self.mib, self.rate = lab, image, mib, rate
        self.processes, self.controls = [], []

    def __enter__(self):
        try:
            for side in (0, 1):
                self.start(side)
            end = time.monotonic() + 60
            while self.controls[0].word(READY) != 1:
                if time.monotonic() > end:
                    raise measure.Failed("the QEMU guest did not get ready in 60 s")
                time.sleep(0.02)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for control in self.controls:
            control.close()
        for process in self.processes:
            process.kill()
            process.wait()

    def start(self, side):
        control = f"{self.lab.folder}/qmp{side}"
        if os.path.exists(control):
            os.unlink(control)
        firmware = f"{self.lab.folder}/firmware"
        if side == 0:
            image_for(self.image, firmware, self.mib, self.rate, measure.Tsc().hertz)
        words = ["ip", "netns", "exec", self.lab.spaces[side], PROGRAM, "-M", "pc", "-accel", "kvm", "-cpu",
                 "host,-arch-capabilities", "-m", str(self.mib + 8), "-bios", firmware, "-device",
                 f"loader,file={firmware},addr=0x10000,force-raw=on", "-nodefaults", "-no-user-config",
                 "-display", "none", "-qmp", f"unix:{control},server=on,wait=off"]
        if side == 1:
            words += ["-incoming", "defer"]
        self.processes.append(Process(words, f"{self.lab.folder}/qemu{side}.log"))
        self.controls.append(Qmp(control, self.processes[-1]))

    def migrate(self, mode, limit):
        """{"downtime_ms", "total_ms", "gap_ms" or None}, or None if it has not converged after `limit` seconds.

        downtime_ms is QEMU's own figure; gap_ms the longest gap the guest saw, where the host shows it the host's counter.
        """
        source, target = self.controls
        names = {"multifd": ["multifd"], "postcopy": ["postcopy-ram"]}.get(mode, [])
        for control in self.controls:
            control("migrate-set-capabilities", capabilities=[{"capability": name, "state": True} for name in names])
            control("migrate-set-parameters", **{"max-bandwidth": 1 << 40, "downtime-limit": 10})
            if mode == "multifd":
                control("migrate-set-parameters", **{"multifd-channels": 2})
        target("migrate-incoming", uri="tcp:0.0.0.0:4444")
        begin = time.monotonic()
        began = time.monotonic_ns()
        source("migrate", uri="tcp:10.77.0.2:4444")
        if mode == "postcopy":
            while source("query-migrate").get("status") in ("setup", None):
                pass
            source("migrate-start-postcopy")
        while True:
            now = source("query-migrate")
            if now["status"] == "completed":
                break
            if now["status"] in ("failed", "cancelled"):
                raise measure.Failed(f"QEMU's {mode} migration failed: {now.get('error-desc', self.processes[1].said())}")
            if time.monotonic() - begin > limit:
                return None
            time.sleep(0.005)
        while target("query-status")["status"] != "running":
            time.sleep(0.005)
        result = {"downtime_ms": now["downtime"], "total_ms": now["total-time"], "gap_ms": None}
        if self.rate is not None:
            time.sleep(0.05)
            result["gap_ms"] = self.longest_gap(target, began)
        return result

    @staticmethod
    def longest_gap(target, since_ns):
        """In ms, since then; None where KVM gives the guest a counter that is not the host's: it would lack the downtime."""
        host = measure.Tsc()
        if abs(host.ns(target.word(LAST)) - host.at_ns) > 1e9:
            return None
        count = target.word(GAP_COUNT)
        gaps = target.words(GAPS, 2 * count) if count else []
        lengths = [length for begin, length in zip(gaps[::2], gaps[1::2]) if host.ns(begin + length) >= since_ns]
        return max(lengths, default=0) / host.hertz * 1e3


def migrate(lab, image, mib, rate, mode, limit=20):
    with Guest(lab, image, mib, rate) as guest:
        return guest.migrate(mode, limit)
