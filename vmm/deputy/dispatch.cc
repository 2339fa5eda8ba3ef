#include "vmm/deputy/dispatch.hh"

#include <algorithm>
#include <array>
#include <cerrno>

#include "vmm/deputy/calls.hh"
#include "vmm/deputy/home.hh"
#include "vmm/deputy/host.hh"
#include "vmm/deputy/numbers.hh"
#include "vmm/deputy/seccomp.hh"
#include "vmm/deputy/share.hh"
#include "vmm/deputy/trace.hh"
#include "vmm/mem/overlay.hh"
#include "vmm/sys/marshal.hh"
#include "vmm/sys/passthrough.hh"

namespace hpcvmm::deputy {
namespace {

using sys::Call;
using sys::SysRet;

constexpr std::size_t kCalls = sys::kCallCount;

struct Binding {
  Call call;
  Handler handler;
};

constexpr Binding kBindings[] = {
#define B(call, handler) \
  { Call::call, call_##handler }
    B(mmap, mmap),
    B(old_mmap, old_mmap),
    B(mmap2, mmap2),
    B(munmap, munmap),
    B(mremap, mremap),
    B(mprotect, mprotect),
    B(pkey_mprotect, pkey_mprotect),
    B(brk, brk),
    B(madvise, madvise),
    B(process_madvise, process_madvise),
    B(msync, range_only),
    B(mincore, range_only),
    B(mlock, range_only),
    B(mlock2, range_only),
    B(munlock, range_only),
    B(mlockall, mlockall),
    B(munlockall, mlockall),
    B(mseal, enosys),
    B(remap_file_pages, remap_file_pages),
    B(shmat, shmat),
    B(shmdt, shmdt),
    B(process_vm_readv, process_vm),
    B(process_vm_writev, process_vm),
    B(rt_sigaction, rt_sigaction),
    B(sigaction, sigaction),
    B(signal, signal),
    B(rt_sigprocmask, rt_sigprocmask),
    B(sigprocmask, sigprocmask),
    B(sgetmask, sgetmask),
    B(ssetmask, ssetmask),
    B(rt_sigpending, rt_sigpending),
    B(sigpending, rt_sigpending),
    B(rt_sigsuspend, rt_sigsuspend),
    B(sigsuspend, sigsuspend),
    B(sigaltstack, sigaltstack),
    B(rt_sigreturn, rt_sigreturn),
    B(sigreturn, sigreturn),
    B(restart_syscall, restart_syscall),
    B(ppoll, ppoll),
    B(ppoll_time64, ppoll),
    B(pselect6, pselect6),
    B(pselect6_time64, pselect6),
    B(epoll_pwait, epoll_pwait),
    B(epoll_pwait2, epoll_pwait),
    B(old_select, old_select),
    B(select, select),
    B(_newselect, select),
    B(fork, fork),
    B(vfork, vfork),
    B(clone, clone),
    B(clone3, clone3),
    B(set_tid_address, set_tid_address),
    B(set_robust_list, set_robust_list),
    B(futex, futex),
    B(futex_time64, futex),
    B(futex_wait, futex_new),
    B(futex_waitv, futex_new),
    B(exit, exit),
    B(exit_group, exit_group),
    B(arch_prctl, arch_prctl),
    B(set_thread_area, set_thread_area),
    B(get_thread_area, get_thread_area),
    B(modify_ldt, enosys),
    B(rseq, enosys),
    B(prctl, prctl),
    B(ptrace, eperm),
    B(pidfd_getfd, eperm),
    B(seccomp, seccomp),
    B(socketcall, socketcall),
    B(ipc, ipc),
    B(getrlimit, getrlimit),
    B(ugetrlimit, getrlimit),
    B(setrlimit, setrlimit),
    B(prlimit64, prlimit64),
    B(getrusage, getrusage),
    B(times, times),
    B(clock_gettime, clock_gettime),
    B(clock_gettime64, clock_gettime),
    B(wait4, wait4),
    B(waitpid, wait4),
    B(waitid, waitid),
    B(sched_getaffinity, sched_getaffinity),
    B(sched_setaffinity, sched_setaffinity),
    B(getcpu, getcpu),
    B(sysinfo, sysinfo),
    B(execve, execve),
    B(execveat, execveat),
    B(close, close),
    B(close_range, close_range),
    B(dup2, dup2),
    B(dup3, dup3),
    B(getdents, getdents),
    B(getdents64, getdents64),
    B(readdir, getdents),
    B(open, open),
    B(creat, open),
    B(openat, openat),
    B(openat2, openat2),
    B(readlink, readlink),
    B(readlinkat, readlinkat),
    B(stat, path_first),
    B(lstat, path_first),
    B(stat64, path_first),
    B(lstat64, path_first),
    B(access, path_first),
    B(oldstat, path_first),
    B(oldlstat, path_first),
    B(fstatat64, path_second),
    B(newfstatat, path_second),
    B(statx, path_second),
    B(faccessat, path_second),
    B(faccessat2, path_second),
    B(getxattr, path_xattr),
    B(lgetxattr, path_xattr),
    B(listxattr, path_xattr),
    B(llistxattr, path_xattr),
    B(chdir, chdir),
    B(getcwd, getcwd),
#undef B
};

constexpr auto kHandlers = [] {
  std::array<Handler, kCalls> table{};
  for (const Binding& b : kBindings) table[static_cast<std::size_t>(b.call)] = b.handler;
  return table;
}();

thread_local bool t_keep_registers = false;

bool names_hidden_fd(const CallContext& c) {
  const unsigned fds = sys::shape_of(c.row).fds;
  for (unsigned i = 0; i < 6; ++i)
    if ((fds >> i & 1U) != 0 && is_hidden(c.as_int(i))) return true;
  return false;
}

/// What is too large to travel with its call.
void fetch_buffer(const CallContext& c) {
  switch (c.row.call) {
    case Call::read:
    case Call::write:
    case Call::pread64:
    case Call::pwrite64: break;
    default: return;
  }
  constexpr std::uint64_t kMost = std::uint64_t{1} << 31U;  // more than one call moves
  const std::uint64_t bytes = std::min(c.arg(2), kMost);
  if (bytes > sys::kMostMarshalled) home_of(c.task).fetch(c.arg(1), c.arg(1) + bytes);
}

SysRet run_call(const CallContext& c) {
  const GuestNumbers numbers(c);
  if (const Handler h = kHandlers[static_cast<std::size_t>(c.row.call)]) return h(c);
  if (names_hidden_fd(c)) return SysRet::fail(EBADF);
  fetch_buffer(c);
  const FilesAtHome files(c);
  return pass(c);
}

}  // namespace

void keep_registers(Task& t) {
  static_cast<void>(t);
  t_keep_registers = true;
}

Handler find_handler(Call call) { return kHandlers[static_cast<std::size_t>(call)]; }

SysRet pass(const CallContext& c) { return sys::pass_through(c.row, c.abi, c.args, host_gate()); }

void do_syscall(Task& t, Abi abi) {
  ++t.count.syscalls;
  GuestRegs& r = t.vcpu->regs();
  const auto nr = static_cast<std::uint32_t>(r.rax);
  const sys::Args args = sys::call_args(r, abi);
  if (t.process->seccomp != nullptr && !seccomp_allows(t, abi, nr, args)) return;
  const sys::Row* row = sys::find_row(abi, nr);
  t_keep_registers = false;
  SysRet result = SysRet::fail(ENOSYS);
  if (row != nullptr) {
    const CallContext c{t, *row, abi, args};
    if (tracing(t) && (row->call == Call::exit || row->call == Call::exit_group)) trace_departure(c);
    result = run_call(c);
    // What it has written goes to the guest with it; with a signal before it, now (loop.cc).
    if (mem::Overlay* const over = mem::overlay())
      over->finish(result.is_restart() ? -EINTR : result.value());
    if (tracing(t)) trace_call(c, result);
  }
  if (t_keep_registers) return;
  GuestRegs& after = t.vcpu->regs();
  if (result.is_restart()) {
    // Linux restarts by winding back to the call instruction; the number is still in rax.
    after.rip -= sys::kCallBytes;
    return;
  }
  sys::set_result(after, abi, result);
}

}  // namespace hpcvmm::deputy
