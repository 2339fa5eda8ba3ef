#!/usr/bin/python3
"""Fails if a file includes a folder its layer may not see.  check_layers.py ROOT

MAY is the drawing of the architecture: change it and the folders' READMEs together.  --self-test plants violations in
a temporary tree and fails if one is not found.
"""
import pathlib
import re
import sys
import tempfile

BASE = ["include/hpcvmm/base", "include/hpcvmm/abi"]
CONTRACTS = BASE + ["include/hpcvmm/wire"]
VMM = ["vmm/sys", "vmm/load", "vmm/engine", "vmm/mem", "vmm/engine/kvm", "vmm/engine/direct", "vmm/probe", "vmm/gdb",
       "vmm/names", "vmm/share", "vmm/migrate", "vmm/share/server", "vmm/deputy"]
NET = ["net/driver", "net/driver/dpdk", "net/transport", "net/discovery"]

# layer -> layers it may include; its own is always allowed, <system> headers too but for ONLY.  The longest prefix
# wins, so vmm/engine is the contract engine.hh alone: window memory knows it, the engines know window memory.
MAY = {
    "include/hpcvmm/base": [],
    "include/hpcvmm/abi": [],
    "include/hpcvmm/wire": ["include/hpcvmm/base"],
    "guest-agent": CONTRACTS,
    "vmm/sys": CONTRACTS,
    "vmm/load": CONTRACTS,
    "vmm/engine": CONTRACTS,
    "vmm/mem": CONTRACTS + ["vmm/engine", "vmm/sys"],
    "vmm/engine/kvm": CONTRACTS + ["vmm/engine", "vmm/mem", "guest-agent"],
    "vmm/engine/direct": CONTRACTS + ["vmm/engine", "vmm/mem"],
    "vmm/probe": CONTRACTS + ["vmm/engine", "vmm/mem"],
    "vmm/gdb": CONTRACTS + ["vmm/engine", "vmm/mem", "vmm/sys"],
    "vmm/share": CONTRACTS + ["vmm/mem"],
    "vmm/names": CONTRACTS + ["vmm/mem"],
    "vmm/migrate": CONTRACTS + ["vmm/names", "vmm/share", "vmm/sys", "vmm/engine", "vmm/mem", "vmm/engine/kvm",
                                "vmm/engine/direct", "guest-agent"],
    "vmm/share/server": CONTRACTS + ["vmm/share", "vmm/migrate"],
    "vmm/deputy": CONTRACTS + VMM + ["guest-agent"],
    "net": [],
    "net/driver": CONTRACTS,
    "net/driver/dpdk": CONTRACTS + ["net/driver"],
    "net/transport": CONTRACTS + ["net/driver"],
    "net/discovery": CONTRACTS + ["net/driver"],
    "balancer": ["include/hpcvmm/base"],
    "balancer/record": ["include/hpcvmm/base", "balancer"],
    "balancer/sim": ["include/hpcvmm/base", "balancer"],
    "balancer/test": ["include/hpcvmm/base", "balancer", "balancer/sim", "balancer/record"],
    "daemon": CONTRACTS + NET + ["balancer", "balancer/record", "guest-agent"],
    "cli": CONTRACTS + VMM + ["balancer", "balancer/sim", "balancer/record", "net/driver", "net/discovery", "cli/hpctree", "cli/man"],
    # The daemon's pages are made of its own parsers.
    "cli/man": ["cli", "daemon"],
    "cli/hpctree": [],
    "cmake": [],
    "bench": CONTRACTS + VMM + NET + ["tests"],
    "tests": CONTRACTS + VMM + NET + ["guest-agent", "daemon"],
}
# System headers that only some places may see: name or prefix -> folders.
ONLY = {"linux/kvm.h": ("vmm/engine/kvm/", "vmm/probe/", "bench/"), "nlohmann/": ("balancer/record/", "cli/", "daemon/", "bench/", "tests/")}
SUFFIXES = {".hh", ".cc", ".h", ".c", ".S", ".inc"}
INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]')


def layer(path):
    return max((k for k in MAY if path == k or path.startswith(k + "/")), key=len, default=None)


def target_layer(rel, name):
    """Layer of an included file: names are relative to the root, to include/, or, without a folder, to the includer."""
    if "/" not in name:
        return layer(rel)
    return layer("include/" + name) or layer(name)


def problems(root):
    skipped = {"build", "images", ".git"}
    for top in sorted(p for p in root.iterdir() if p.is_dir() and p.name not in skipped):
        for file in sorted(p for p in top.rglob("*") if p.suffix in SUFFIXES):
            yield from problems_of(file, file.relative_to(root).as_posix())


def problems_of(file, rel):
    own = layer(rel)
    if own is None:
        yield f"{rel}: in no layer; add its folder to MAY in tests/tidy/check_layers.py"
        return
    for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        kind, name = match[1], match[2]
        for pattern, homes in ONLY.items():
            if (name == pattern or pattern.endswith("/") and name.startswith(pattern)) and not rel.startswith(homes):
                yield f"{rel}:{number}: <{name}> belongs to {', '.join(homes)} only"
        if kind == '"':
            if name.startswith("../") or "/../" in name:
                yield f"{rel}:{number}: \"{name}\": includes are relative to the root"
                continue
            target = target_layer(rel, name)
            if target is not None and target != own and target not in MAY[own]:
                yield f"{rel}:{number}: {own} may not include {name} ({target})"


def self_test():
    planted = {
        "vmm/sys/a.cc": '#include "vmm/mem/mm.hh"\n',
        "vmm/mem/b.cc": '#include "vmm/engine/kvm/machine.hh"\n',
        "vmm/deputy/c.cc": "#include <linux/kvm.h>\n",
        "include/hpcvmm/abi/d.h": '#include "hpcvmm/base/result.hh"\n',
        "guest-agent/e.c": '#include "vmm/sys/row.hh"\n',
        "elsewhere/f.cc": "int x;\n",
        "vmm/load/g.cc": '#include "../sys/row.hh"\n',
    }
    fine = {"vmm/mem/ok.cc": '#include "vmm/engine/engine.hh"\n#include "hpcvmm/base/result.hh"\n#include <vector>\n'}
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, text in (planted | fine).items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        found = list(problems(root))
    missed = [name for name in planted if not any(p.startswith(name) for p in found)]
    wrong = [p for p in found if not p.startswith(tuple(planted))]
    print("\n".join([f"not found: {m}" for m in missed] + [f"found wrongly: {w}" for w in wrong]) or "self-test: ok")
    return bool(missed or wrong)


if __name__ == "__main__":
    if sys.argv[1:] == ["--self-test"]:
        sys.exit(self_test())
    all_found = list(problems(pathlib.Path(sys.argv[1])))
    print("\n".join(all_found) or "layers: ok")
    sys.exit(bool(all_found))
