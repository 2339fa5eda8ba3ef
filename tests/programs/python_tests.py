#!/usr/bin/python3
"""Runs test modules of CPython and writes one line per test, "identifier: outcome", sorted, to results.txt.

python_tests.py NAME...     NAME is a module of the package test, or one test's full identifier.
Only outcomes are written: messages hold addresses and times.
"""
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


def main():
    faulthandler.enable()
    recorder = Recorder()
    for name in sys.argv[1:]:
        full = name if name.startswith("test.") or "." in name else "test." + name
        unittest.defaultTestLoader.loadTestsFromName(full).run(recorder)
    with open("results.txt", "w") as out:
        for identifier in sorted(recorder.outcomes):
            print(f"{identifier}: {recorder.outcomes[identifier]}", file=out)
    for kind in (recorder.failures, recorder.errors):
        for case, text in kind:
            print(f"{case.id()}\n{text}", file=sys.stderr)


if __name__ == "__main__":
    main()
