#!/usr/bin/python3
"""--help, man pages and completions against the programs that read them.  run_texts.py CASE BIN SHARE"""
import json
import pathlib
import shutil
import subprocess
import sys

CASE, BIN, SHARE = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
failures = []


def check(good, what):
    if not good:
        failures.append(what)


def run(*words, **more):
    return subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=60, check=False, **more)


def need(program):
    if shutil.which(program) is None:
        print(f"{program} is not installed")
        sys.exit(77)


def pages():
    return (json.loads(run(BIN / "hpc-vmm", "--dump-cli").stdout) + json.loads(run(BIN / "hpc-vmm-tools", "--dump-cli").stdout)
            + json.loads((SHARE / "daemon.json").read_text()))


def test_help():
    """Every verb and every old name explains itself: exit status 0, its options named, nothing on stderr."""
    for page in pages():
        if page["section"] == "5":
            told = run(BIN / "hpcd", "--keys").stdout
            check(all(f"{n} = " in told for key in page["keys"] for n in key["names"]), f"hpcd --keys: {told}")
            continue
        words = [BIN / page["name"]] if page["old_name"] else [BIN / "hpc-vmm", page["name"]]
        got = run(*words, "--help")
        check(got.returncode == 0 and got.stderr == "", f"{words}: {got.returncode} {got.stderr}")
        check(page["name"] in got.stdout, f"{words}: its name is missing")
        for option in page["options"]:
            check(all(n in got.stdout for n in option["names"]), f"{words}: {option['names']} are missing")
            first = option["text"].split(" ")[0]
            check(first in got.stdout, f"{words}: the text of {option['names']} is another one")


def test_man():
    """mandoc and man find nothing wrong, and there is a page for every verb, the daemon and its file."""
    need("mandoc")
    need("man")
    names = {("" if p["old_name"] or p["section"] != "1" else "hpc-vmm-") + p["name"] + "." + p["section"] for p in pages()}
    names.add("hpc-vmm.1")
    files = sorted(SHARE.glob("*.[158]"))
    check({f.name for f in files} == names, f"pages: {sorted(names ^ {f.name for f in files})}")
    for file in files:
        lint = run("mandoc", "-T", "lint", "-W", "warning", file)
        check(lint.returncode == 0 and lint.stdout == "", f"{file.name}: {lint.stdout}")
        shown = run("man", "--warnings", "-l", file, env={"MANWIDTH": "80", "LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"})
        check(shown.returncode == 0 and shown.stderr == "", f"{file.name}: {shown.stderr}")
    text = run("man", "-l", SHARE / "hpc-vmm-launch.1", env={"MANWIDTH": "80", "LC_ALL": "C", "PATH": "/usr/bin:/bin"}).stdout
    check("--except-nodes" in text and "hpc-vmm-launch - run a program" in text, text[:400])


BASH = r"""
source "$1/hpc-vmm.bash"
ask() {  # ask FUNCTION WORD... : what completes the last word
  local f=$1; shift
  COMP_WORDS=("$@"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=()
  "$f"; printf '%s|' "${COMPREPLY[@]}"; echo
}
# The nodes and processes of a cluster that is known.
_hpcvmm_ask() { [[ $1 == nodes ]] && echo "1 2 3" || echo "4711 4712"; }
ask _hpcvmm hpc-vmm la
ask _hpcvmm hpc-vmm launch --eng
ask _hpcvmm hpc-vmm launch --engine ""
ask _hpcvmm hpc-vmm launch --run-on ""
ask _hpcvmm hpc-vmm migrate 47
ask _hpcvmm hpc-vmm migrate 4711 ""
ask _hpcvmm_old mosctl geth
ask _hpcvmm_old mosctl getl
ask _hpcvmm_old mosctl getload ""
ask _hpcvmm_old /usr/bin/migrate 4711 h
ask _hpcvmm hpc-vmm top --sort m
ask _hpcvmm_old runon ""
ask _hpcvmm_old hpcd --ch
ask _hpcvmm hpc-vmm hpc
complete -p mosctl hpc-vmm | wc -l
"""


def test_bash():
    need("bash")
    got = run("bash", "-c", BASH, "bash", SHARE)
    check(got.stderr == "", got.stderr)
    wanted = ["launch|", "--engine|", "auto|kvm|direct|", "1|2|3|", "4711|4712|", "1|2|3|home|balance|", "|", "getload|",
              "1|2|3|", "home|", "memory|", "1|2|3|", "--check|", "|", "2"]
    lines = got.stdout.splitlines()
    check(len(lines) == len(wanted), got.stdout)
    for want, line in zip(wanted, lines):
        check(line == want, f"wanted {want}, got {line}")


def test_zsh():
    need("zsh")
    got = run("zsh", "-n", SHARE / "_hpc-vmm")
    check(got.returncode == 0 and got.stderr == "", got.stderr)


{"help": test_help, "man": test_man, "bash": test_bash, "zsh": test_zsh}[CASE]()
print("\n".join(failures) or "ok")
sys.exit(1 if failures else 0)
