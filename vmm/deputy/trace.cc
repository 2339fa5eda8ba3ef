#include "vmm/deputy/trace.hh"

#include <sys/syscall.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <string>

#include "vmm/deputy/gate.hh"
#include "vmm/deputy/host.hh"
#include "vmm/deputy/siginfo_text.hh"
#include "vmm/sys/trace.hh"

namespace hpcvmm::deputy {
namespace {

/// A line begun as `strace -f` begins it.
std::string begin_line() {
  std::array<char, 32> prefix{};
  std::snprintf(prefix.data(), prefix.size(), "[pid %5d] ", static_cast<int>(raw_call(SYS_gettid)));
  std::string line;
  line.reserve(256);
  return line += prefix.data();
}

void write_line(const Task& t, std::string& line) {
  line += '\n';
  const std::int64_t fd = t.process->options.trace_fd;
  std::size_t done = 0;
  while (done < line.size()) {
    const std::int64_t n =
        raw_call(SYS_write, static_cast<std::uint64_t>(fd), word(line.data() + done), line.size() - done);
    // A pipe nobody reads, a full disk: the guest goes on without its trace.
    if (n <= 0 && n != -EINTR) return;
    if (n > 0) done += static_cast<std::size_t>(n);
  }
}

}  // namespace

bool tracing(const Task& t) { return t.process->options.trace_fd >= 0; }

void trace_call(const CallContext& c, sys::SysRet result) {
  std::string line = begin_line();
  const unsigned next = sys::format_call(line, c.row, c.abi, c.args, host_gate());
  sys::format_result(line, c.row, c.abi, c.args, host_gate(), result, next);
  write_line(c.task, line);
}

void trace_departure(const CallContext& c) {
  std::string line = begin_line();
  sys::format_call(line, c.row, c.abi, c.args, host_gate());
  sys::format_no_result(line);
  write_line(c.task, line);
}

void trace_signal(const Task& t, const siginfo_t& info) {
  if (!tracing(t)) return;
  std::string line = begin_line();
  format_signal(line, info);
  write_line(t, line);
}

}  // namespace hpcvmm::deputy
