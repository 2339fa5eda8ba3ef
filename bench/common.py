"""What the tables of this folder share."""
import os
import platform


class Failed(Exception):
    """A measurement that gave no number, with what was run and said."""


def machine():
    cpu = "unknown CPU"
    for line in open("/proc/cpuinfo", encoding="utf-8"):
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    kvm = "PVM" if os.path.exists("/sys/module/kvm_pvm") else "VT-x/SVM"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} x {cpu}, {memory:.0f} GiB, Linux {platform.release()}, KVM: {kvm}, load before {load:.1f}"


def number(value):
    if value is None:
        return "-"
    return f"{value:.3f}" if value < 10 else f"{value:.1f}" if value < 1000 else f"{value:.0f}"
