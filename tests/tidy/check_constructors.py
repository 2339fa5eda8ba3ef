#!/usr/bin/python3
"""No static constructors in the VMM.  check_constructors.py BUILD READELF

`launch`, and an exec inside a guest, run before static constructors (cli/main.cc), so that nobody pays for those of
CLI11 and the streams.  What the VMM itself kept in one would then silently never be set.  Looks into the libraries
of these folders of the build for objects with an .init_array.
"""
import pathlib
import re
import subprocess
import sys

FOLDERS = ("vmm", "guest-agent")


def constructors_in(readelf, library):
    """Names of the library's objects that have static constructors."""
    listing = subprocess.run([readelf, "-SW", str(library)], check=True, capture_output=True, text=True).stdout
    found, member = [], library.name
    for line in listing.splitlines():
        if head := re.match(r"File: (.*)", line):
            member = head[1]
        elif re.search(r"\] \.(init_array|ctors)", line):
            found.append(member)
    return found


def main():
    build, readelf = pathlib.Path(sys.argv[1]), sys.argv[2]
    libraries = [library for folder in FOLDERS for library in sorted((build / folder).rglob("*.a"))]
    if len(libraries) < 10:
        sys.exit(f"only {len(libraries)} libraries below {build}: build first")
    found = [member for library in libraries for member in constructors_in(readelf, library)]
    for member in found:
        print(f"{member}: has a static constructor; make it constinit, or set it where the program is prepared")
    sys.exit(1 if found else 0)


main()
