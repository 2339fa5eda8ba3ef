// The two IA32 calls that stand for many: socketcall(2) and ipc(2).
#include <cerrno>

#include "vmm/deputy/calls.hh"
#include "vmm/deputy/host.hh"
#include "vmm/mem/user_copy.hh"
#include "vmm/sys/messages.hh"
#include "vmm/sys/table.hh"

namespace hpcvmm::deputy {

using sys::Call;
using sys::SysRet;

namespace {

/// Runs another row's call with these IA32 words, as the dispatcher would.
SysRet run_row(Task& t, Call call, const sys::Args& args) {
  const sys::Row& row = sys::row_of(call);
  const CallContext c{t, row, Abi::Ia32, args};
  if (const Handler h = find_handler(call)) return h(c);
  const unsigned fds = sys::shape_of(row).fds;
  for (unsigned i = 0; i < args.size(); ++i)
    if ((fds >> i & 1U) != 0 && is_hidden(c.as_int(i))) return SysRet::fail(EBADF);
  return pass(c);
}

// Operations of ipc(2).  Source: linux/ipc.h.
constexpr std::uint64_t kShmAt = 21;
constexpr std::uint64_t kShmDt = 22;

}  // namespace

SysRet call_socketcall(const CallContext& c) {
  const sys::SocketCall* const target = sys::socket_call(c.arg(0));
  if (target == nullptr) return SysRet::fail(EINVAL);
  // Copied once, so that another thread cannot change a descriptor after it has been looked at.
  std::uint32_t words[6]{};
  if (!mem::copy_in(words, c.arg(1), target->words * sizeof words[0])) return SysRet::fail(EFAULT);
  sys::Args args{};
  for (unsigned i = 0; i < target->words; ++i) args[i] = words[i];
  return run_row(c.task, target->call, args);
}

SysRet call_ipc(const CallContext& c) {
  const std::uint64_t operation = c.arg(0) & 0xffffU;
  const std::uint64_t version = c.arg(0) >> 16;
  const std::uint64_t pointer = c.args[4];
  if (operation == kShmAt) {
    if (version == 1) return SysRet::fail(EINVAL);
    const SysRet at = run_row(c.task, Call::shmat, {c.args[1], pointer, c.args[2], 0, 0, 0});
    if (at.is_error() || at.is_restart()) return at;
    if (!mem::put(c.args[3], static_cast<std::uint32_t>(at.value()))) return SysRet::fail(EFAULT);
    return SysRet::ok();
  }
  if (operation == kShmDt) return run_row(c.task, Call::shmdt, {pointer, 0, 0, 0, 0, 0});
  // The rest needs nothing of the VMM: 32-bit words cannot name its memory, and no descriptor is among them.
  // The kernel's own unpacking knows the old layouts of *ctl and the two shapes of msgrcv, which no other
  // entry has.
  return pass(c);
}

}  // namespace hpcvmm::deputy
