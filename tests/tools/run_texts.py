#!/usr/bin/python3
"""--help, man pages and completions against the programs that read them.  run_texts.py CASE BIN SHARE"""
import json
import os
import pathlib
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

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
ask _hpcvmm hpc-vmm drain ""
ask _hpcvmm hpc-vmm sim sc
ask _hpcvmm hpc-vmm sim scale --pol
ask _hpcvmm hpc-vmm sim scale --policy r
complete -p mosctl hpc-vmm | wc -l
"""


def test_bash():
    need("bash")
    got = run("bash", "-c", BASH, "bash", SHARE)
    check(got.stderr == "", got.stderr)
    wanted = ["launch|", "--engine|", "auto|kvm|direct|", "1|2|3|", "4711|4712|", "1|2|3|home|balance|", "|", "getload|",
              "1|2|3|", "home|", "memory|", "1|2|3|", "--check|", "|", "1|2|3|", "scale|",
              "--policy|", "round-robin|random|", "2"]
    lines = got.stdout.splitlines()
    check(len(lines) == len(wanted), got.stdout)
    for want, line in zip(wanted, lines):
        check(line == want, f"wanted {want}, got {line}")


# An interactive zsh with its completion system.  As soon as it would show its first prompt it takes each line of the file
# `lines` for what has been typed, lists what may follow, and ends.  What is offered is written down, not read off the screen.
ZSHRC = r"""
unset HISTFILE
fpath=($SHARE $fpath)
autoload -Uz compinit && compinit -u -D
compadd() {
  # With one of these, completion functions only try what would match.
  if [[ " ${@[1,(i)(-|--)]} " == *" "-[OAD]" "* ]]; then builtin compadd "$@"; return; fi
  local -a hits
  builtin compadd -A hits "$@"
  (( $#hits )) && print -rl -- $hits >> $WORK/answer
  builtin compadd "$@"
}
zle-line-init() {
  local line
  for line in "${(@f)$(<$WORK/lines)}"; do
    BUFFER=$line CURSOR=$#line
    : > $WORK/answer
    zle list-choices
    print -r -- "$line|${(j: :)${(f)$(<$WORK/answer)}}" >> $WORK/out
  done
  exit
}
zle -N zle-line-init
"""
# What is typed, and what zsh offers then, sorted.
ZSH = {
    "hpc-vmm la": "launch",
    "hpc-vmm --ver": "--version",
    "hpc-vmm hpc": "",
    "hpc-vmm launch --eng": "--engine",
    "hpc-vmm launch --engine ": "auto direct kvm",
    "hpc-vmm launch --run-on ": "1 2 3",
    "hpc-vmm launch --nod": "--node --nodes",
    "hpc-vmm launch --node 2 -- ls $WORK/any": "anything",
    "hpc-vmm launch some-p": "some-program",
    "hpc-vmm migrate 47": "4711 4712",
    "hpc-vmm migrate 4711 ": "1 2 3 balance home",
    "hpc-vmm why ": "4711 4712",
    "hpc-vmm drain ": "1 2 3",
    "hpc-vmm ps --v": "--verbose",
    "hpc-vmm top --sort m": "memory",
    "hpc-vmm sim sc": "scale",
    "hpc-vmm sim scale --pol": "--policy",
    "hpc-vmm sim scale --policy r": "random round-robin",
    "mosctl geth": "",
    "mosctl getl": "getload",
    "mosctl getload ": "1 2 3",
    "migrate 4711 h": "home",
    "runon ": "1 2 3",
    "hpcd --ch": "--check",
}


def in_terminal(words, environment, seconds):
    """Runs a program on a terminal of its own until it ends; what it shows, or None if it does not end."""
    child, fd = pty.fork()
    if child == 0:
        os.execve(words[0], words, environment)
    shown, end = b"", time.monotonic() + seconds
    while time.monotonic() < end:
        if not select.select([fd], [], [], 0.2)[0]:
            continue
        try:
            shown += os.read(fd, 65536)
        except OSError:  # it has closed the terminal
            break
    else:
        os.kill(child, signal.SIGKILL)
        shown = None
    os.waitpid(child, 0)
    os.close(fd)
    return shown


def test_zsh():
    """zsh itself, in a terminal, completes verbs, options, their values, nodes and processes."""
    need("zsh")
    got = run("zsh", "-n", SHARE / "_hpc-vmm")
    check(got.returncode == 0 and got.stderr == "", got.stderr)
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        (work / "anything").touch()
        lines = {line.replace("$WORK", folder): offered for line, offered in ZSH.items()}
        (work / "lines").write_text("\n".join(lines))
        (work / ".zshrc").write_text(ZSHRC)
        # The nodes and processes of a cluster that is known.
        programs = {"hpc-vmm": 'case "$1 $2" in\n"complete nodes") printf "1\\n2\\n3\\n" ;;\n"complete pids") printf "4711\\n4712\\n" ;;\nesac\n',
                    "some-program": ""}
        for name, text in programs.items():
            (work / name).write_text("#!/bin/sh\n" + text)
            (work / name).chmod(0o755)
        shown = in_terminal([shutil.which("zsh"), "-i"], {"TERM": "dumb", "ZDOTDIR": folder, "HOME": folder, "WORK": folder, "LC_ALL": "C",
                            "SHARE": str(SHARE), "PATH": f"{folder}:/usr/bin:/bin"}, 60)
        check(shown is not None, "zsh does not end")
        told = (work / "out").read_text().splitlines() if (work / "out").exists() else []
        check(len(told) == len(lines), f"{told} {shown}")
        for line in told:
            typed, offered = line.split("|", 1)
            offered = " ".join(sorted(set(offered.split())))
            check(lines.get(typed) == offered, f"{typed}: wanted {lines.get(typed)}, got {offered}")


{"help": test_help, "man": test_man, "bash": test_bash, "zsh": test_zsh}[CASE]()
print("\n".join(failures) or "ok")
sys.exit(1 if failures else 0)
