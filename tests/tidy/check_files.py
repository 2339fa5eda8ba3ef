#!/usr/bin/python3
"""Checks of tracked files that need no compiler.  check_files.py ROOT

- a source file has at most 700 lines (600 is the aim);
- every folder with source has a README.md, its own or, for PART_OF, its parent's;
- text ends with a newline and has no trailing blanks, tabs in C++ or merge markers;
- a header has #pragma once (or #ifndef, where assembler reads it, too);
- nothing is tracked that is no text: programs, core files and what tests leave behind come in with `git add` unseen.
"""
import pathlib
import subprocess
import sys

MAX_LINES = 700
SOURCE = {".hh", ".cc", ".h", ".c", ".S", ".inc", ".py", ".sh", ".cmake", ".toml", ".f90"}
# Folders that are a part of their parent and explained there.
PART_OF = {"testdata", "src", "corpus", "cmake", "base", "abi", "wire"}


def tracked(root):
    listing = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], check=True, capture_output=True).stdout
    return [name for name in listing.decode().split("\0") if name and (root / name).is_file()]


def problems_of(root, name):
    path = root / name
    if path.suffix not in SOURCE and path.name != "CMakeLists.txt":
        return
    text = path.read_text(errors="replace")
    lines = text.splitlines()
    if len(lines) > MAX_LINES:
        yield f"{name}: {len(lines)} lines, at most {MAX_LINES}: split it by subject"
    if text and not text.endswith("\n"):
        yield f"{name}: no newline at the end"
    if path.suffix in {".hh", ".h"} and "#pragma once" not in text and "#ifndef" not in text:
        yield f"{name}: a header without #pragma once"
    for number, line in enumerate(lines, 1):
        if line.rstrip(" \t") != line:
            yield f"{name}:{number}: blanks at the end of the line"
        if "\t" in line and path.suffix in {".hh", ".cc", ".h", ".c"}:
            yield f"{name}:{number}: a tab"
        if line.startswith(("<<<<<<< ", ">>>>>>> ")):
            yield f"{name}:{number}: a merge marker"


def binaries(root, names):
    for name in names:
        if b"\0" in (root / name).read_bytes():
            yield f"{name}: no text; git rm it"


def missing_readmes(root, names):
    folders = {pathlib.PurePath(n).parent for n in names if pathlib.PurePath(n).suffix in SOURCE}
    for folder in sorted(folders):
        if folder.name in PART_OF or str(folder) == ".":
            continue
        if f"{folder}/README.md" not in names:
            yield f"{folder}: no README.md (what is here, what is not, invariants, decisions)"


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    names = tracked(root)
    found = [p for name in names for p in problems_of(root, name)] + list(binaries(root, names)) + list(missing_readmes(root, set(names)))
    print("\n".join(found) or f"files: ok ({len(names)})")
    return bool(found) or not names


if __name__ == "__main__":
    sys.exit(main())
