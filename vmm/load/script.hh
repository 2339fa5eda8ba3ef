// The `#!` line of a script, taken apart exactly as fs/binfmt_script.c does since Linux 5.1.  Pure.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "vmm/load/elf.hh"
#include "vmm/load/verdict.hh"

namespace hpcvmm::load {

struct ScriptLine {
  bool is_script = false;  // the file begins with #!
  Verdict verdict;  // ENOEXEC: no interpreter in the line, or its path may be cut off by the 256-byte limit
  std::string interpreter;
  bool has_argument = false;
  std::string argument;  // all the rest of the line, one argument, inner blanks kept
};

/// Takes the line apart.  `head` is the beginning of the file; only its first kHeadBytes count, and what is
/// missing counts as zeros.  An argument (not a path) that the limit cuts off is passed on cut, as Linux
/// does.
ScriptLine parse_script(std::span<const std::byte> head);

}  // namespace hpcvmm::load
