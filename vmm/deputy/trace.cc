#include "vmm/deputy/trace.hh"

#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cstdio>

#include "vmm/deputy/gate.hh"

namespace hpcvmm::deputy {
bool tracing(const Task& t) { return t.process->options.trace_fd >= 0; }
void trace_call(const CallContext& c, sys::SysRet result) {
  std::array<char, 256> line{};
  const int n = std::snprintf(line.data(), line.size(), "[pid %d] %s(%#lx, %#lx, %#lx, %#lx) = %ld\n",
                              c.task.tid, c.row.name, c.args[0], c.args[1], c.args[2], c.args[3],
                              result.is_restart() ? -512L : static_cast<long>(result.value()));
  raw_call(SYS_write, word(c.task.process->options.trace_fd), word(line.data()),
           static_cast<std::uint64_t>(std::min(n, 255)));
}
void trace_signal(const Task& t, const siginfo_t& info) {
  if (!tracing(t)) return;
  std::array<char, 256> line{};
  const int n = std::snprintf(line.data(), line.size(), "[pid %d] --- signal %d ---\n", t.tid, info.si_signo);
  raw_call(SYS_write, word(t.process->options.trace_fd), word(line.data()),
           static_cast<std::uint64_t>(std::min(n, 255)));
}
}  // namespace hpcvmm::deputy
