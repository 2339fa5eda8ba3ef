// Threat model: any bytes behind `#!`.  Input grammar: the beginning of a file.
#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "tests/fuzz/fuzz_targets.hh"
#include "vmm/load/script.hh"

namespace hpcvmm::fuzz {

void script(const std::uint8_t* data, std::size_t bytes) {
  const load::ScriptLine line = load::parse_script(std::as_bytes(std::span(data, bytes)));
  const bool magic = bytes >= 2 && data[0] == '#' && data[1] == '!';
  bool good = line.is_script == magic;
  good = good && (line.verdict.ok() || line.verdict.error == ENOEXEC);
  good = good && line.interpreter.size() + line.argument.size() < load::kHeadBytes;
  good = good && line.interpreter.find_first_of(" \t\n") == std::string::npos;
  good = good && line.argument.find('\n') == std::string::npos;
  good = good && (line.has_argument || line.argument.empty());
  if (good) return;
  std::fprintf(stderr, "broken promise: #! line taken apart wrongly\n");
  std::abort();
}

}  // namespace hpcvmm::fuzz
