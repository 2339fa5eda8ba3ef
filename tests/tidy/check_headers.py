#!/usr/bin/python3
"""Fails if a header does not compile alone.  check_headers.py ROOT BUILD [COMPILER]

A header that needs another one before it works by luck of the include order.  Headers of tests/guest are not C++.
"""
import concurrent.futures
import pathlib
import subprocess
import sys

FLAGS = ["-std=c++20", "-D_GNU_SOURCE", '-DHPCVMM_VERSION="0"', "-fsyntax-only", "-Wall", "-Wextra", "-Wno-unused", "-x",
         "c++"]
# Names that a target defines for its tests.
FLAGS += ['-DHPCVMM_LOAD_GUESTS=""']


def main():
    root, build = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2]
    compiler = sys.argv[3] if len(sys.argv) > 3 else "c++"
    listing = subprocess.run(["git", "-C", str(root), "ls-files", "-z", "--", "*.hh"], check=True, capture_output=True)
    headers = [h for h in listing.stdout.decode().split("\0") if h]

    def compile_one(header):
        # Through a file that includes it, so that #pragma once is in no main file.
        command = [compiler, *FLAGS, f"-I{root}", f"-I{root}/include", f"-I{build}", "-"]
        done = subprocess.run(command, input=f'#include "{header}"\n', capture_output=True, text=True)
        return header, done.returncode, done.stderr

    failed = 0
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for header, code, errors in pool.map(compile_one, headers):
            if code != 0:
                failed += 1
                print(f"{header} does not compile alone:\n" + "\n".join(errors.splitlines()[:6]))
    if not failed:
        print(f"headers: ok ({len(headers)})")
    return failed > 0 or not headers


if __name__ == "__main__":
    sys.exit(main())
