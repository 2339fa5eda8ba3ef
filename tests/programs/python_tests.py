#!/usr/bin/python3
"""Runs test modules of CPython and writes one line per test, "identifier: outcome", sorted, to results.txt.

python_tests.py [--without TEXT]... NAME...     leaves out tests whose identifier contains TEXT; NAME is a module of the package test, or one test's full identifier.
Only outcomes are written: messages hold addresses and times.
"""
import argparse
import faulthandler
import sys
import unittest

import test.support

# No network, no tests that need gigabytes or minutes.
test.support.use_resources = []
test.support.max_memuse = 0


class Recorder(unittest.TestResult):
    def __init__(self):
        super().__init__()
        self.outcomes = {}

    def note(self, case, outcome):
        self.outcomes[case.id()] = outcome

    def addSuccess(self, case):
        self.note(case, "ok")

    def addFailure(self, case, error):
        super().addFailure(case, error)
        self.note(case, "failed")

    def addError(self, case, error):
        super().addError(case, error)
        self.note(case, "error")

    def addSkip(self, case, reason):
        super().addSkip(case, reason)
        self.note(case, "skipped")

    def addExpectedFailure(self, case, error):
        self.note(case, "expected failure")

    def addUnexpectedSuccess(self, case):
        self.note(case, "unexpected success")

    def addSubTest(self, case, subtest, error):
        super().addSubTest(case, subtest, error)
        if error is not None:
            self.note(case, "failed")


def kept(suite, without):
    """The suite as it is, less the tests left out: its nesting carries class and module fixtures."""
    if not isinstance(suite, unittest.TestSuite):
        return None if any(text in suite.id() for text in without) else suite
    return type(suite)(case for case in (kept(member, without) for member in suite) if case is not None)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--without", action="append", default=[])
    parser.add_argument("names", nargs="+")
    args = parser.parse_args()
    faulthandler.enable()
    recorder = Recorder()
    for name in args.names:
        full = name if name.startswith("test.") else "test." + name
        kept(unittest.defaultTestLoader.loadTestsFromName(full), args.without).run(recorder)
    with open("results.txt", "w") as out:
        for identifier in sorted(recorder.outcomes):
            print(f"{identifier}: {recorder.outcomes[identifier]}", file=out)
    for kind in (recorder.failures, recorder.errors):
        for case, text in kind:
            print(f"{case.id()}\n{text}", file=sys.stderr)


if __name__ == "__main__":
    main()
