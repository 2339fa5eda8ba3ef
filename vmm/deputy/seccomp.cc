#include "vmm/deputy/seccomp.hh"

#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <vector>

#include "vmm/deputy/bpf.hh"
#include "vmm/deputy/gate.hh"
#include "vmm/deputy/home.hh"
#include "vmm/deputy/signals.hh"
#include "vmm/mem/user_copy.hh"

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

namespace hpcvmm::deputy {

using sys::SysRet;

/// One installed filter (or strict mode) on top of the earlier ones.  Never changed once installed: a thread
/// may be walking the chain while another one puts a new head on it, and a forked child goes on with what it
/// got.
struct SeccompState {
  bool strict = false;
  std::vector<bpf::Insn> program;
  std::shared_ptr<SeccompState> earlier;
};

namespace {

constexpr std::size_t kMostOnPath = 32768;  // instructions of a chain, each filter costing four more

std::int32_t action_of(std::uint32_t word) {
  return static_cast<std::int32_t>(word & SECCOMP_RET_ACTION_FULL);  // signed: KILL_PROCESS is the smallest
}

std::uint32_t judge(const SeccompState& state, const bpf::Data& data) {
  std::uint32_t strongest = SECCOMP_RET_ALLOW;
  for (const SeccompState* s = &state; s != nullptr; s = s->earlier.get()) {
    const std::uint32_t word = bpf::run(s->program, data);
    if (action_of(word) < action_of(strongest)) strongest = word;
  }
  return strongest;
}

/// read, write, exit, sigreturn.  Source: seccomp(2), SECCOMP_SET_MODE_STRICT.
bool strict_allows(Abi abi, std::uint32_t nr) {
  if (abi == Abi::X64) return nr == 0 || nr == 1 || nr == 60 || nr == 15;
  return nr == 3 || nr == 4 || nr == 1 || nr == 119;
}

std::uint32_t arch_of(Abi abi) { return abi == Abi::X64 ? AUDIT_ARCH_X86_64 : AUDIT_ARCH_I386; }

siginfo_t seccomp_info(Task& t, Abi abi, std::uint32_t nr, std::uint32_t word) {
  siginfo_t info{};
  info.si_signo = SIGSYS;
  info.si_code = 1;  // SYS_SECCOMP
  info.si_errno = static_cast<int>(word & SECCOMP_RET_DATA);
  info.si_call_addr = reinterpret_cast<void*>(t.vcpu->regs().rip);
  info.si_syscall = static_cast<int>(nr);
  info.si_arch = arch_of(abi);
  return info;
}

void answer(Task& t, Abi abi, std::int64_t value) {
  GuestRegs& r = t.vcpu->regs();
  r.rax = static_cast<std::uint64_t>(value);
  if (abi == Abi::Ia32 && r.is_compat()) r.rax &= 0xffff'ffffU;
}

/// The thread ends by `info`'s signal; its process too if it is the only one.
void kill_thread(Task& t, const siginfo_t& info) {
  std::size_t threads = 0;
  {
    const mem::LockGuard guard(t.process->lock);
    threads = t.process->tasks.size();
  }
  const Handler exit = find_handler(sys::Call::exit);
  if (threads <= 1 || exit == nullptr) die_by_signal(t, info);
  const sys::Args args{static_cast<std::uint64_t>(info.si_signo)};
  static_cast<void>(exit({t, sys::row_of(sys::Call::exit), Abi::X64, args}));
}

void refuse_strict(Task& t) {
  siginfo_t info{};
  info.si_signo = SIGKILL;
  info.si_code = SI_KERNEL;
  kill_thread(t, info);
}

bool may_install() {
  if (raw_call(SYS_prctl, PR_GET_NO_NEW_PRIVS) == 1) return true;
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> caps{};
  if (raw_call(SYS_capget, word(&header), word(caps.data())) < 0) return false;
  return (caps[0].effective >> CAP_SYS_ADMIN & 1U) != 0;
}

/// struct sock_fprog of both ABIs.
bool get_program_header(const CallContext& c, std::uint64_t at, std::uint16_t& count, std::uint64_t& insns) {
  if (c.abi == Abi::Ia32) {
    struct {
      std::uint16_t count, pad;
      std::uint32_t insns;
    } small{};
    if (!mem::get(small, at)) return false;
    count = small.count;
    insns = small.insns;
    return true;
  }
  struct {
    std::uint16_t count, pad[3];
    std::uint64_t insns;
  } large{};
  if (!mem::get(large, at)) return false;
  count = large.count;
  insns = large.insns;
  return true;
}

SysRet push(const CallContext& c, std::shared_ptr<SeccompState> head) {
  Process& p = *c.task.process;
  const mem::LockGuard guard(p.lock);
  if (p.seccomp != nullptr && p.seccomp->strict != head->strict) return SysRet::fail(EINVAL);
  if (head->strict && p.seccomp != nullptr) return SysRet::ok();
  std::size_t length = head->program.size();
  for (const SeccompState* s = p.seccomp.get(); s != nullptr; s = s->earlier.get())
    length += s->program.size() + 4;
  if (length > kMostOnPath) return SysRet::fail(ENOMEM);
  head->earlier = p.seccomp;
  // The old head lives on in the new one, so a reader in another thread holds something valid either way.
  p.seccomp = std::move(head);
  return SysRet::ok();
}

SysRet install_filter(const CallContext& c, std::uint64_t flags, std::uint64_t at) {
  // Threads of a process share one chain, so TSYNC has nothing left to do.
  constexpr std::uint64_t kKnown = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_LOG |
                                   SECCOMP_FILTER_FLAG_SPEC_ALLOW | SECCOMP_FILTER_FLAG_TSYNC_ESRCH;
  if ((flags & ~kKnown) != 0) return SysRet::fail(EINVAL);
  std::uint16_t count = 0;
  std::uint64_t insns = 0;
  if (!get_program_header(c, at, count, insns)) return SysRet::fail(EFAULT);
  if (count == 0 || count > bpf::kMaxInsns) return SysRet::fail(EINVAL);
  if (!may_install()) return SysRet::fail(EACCES);
  auto head = std::make_shared<SeccompState>();
  head->program.resize(count);
  if (!mem::copy_in(head->program.data(), insns, count * sizeof(bpf::Insn))) return SysRet::fail(EFAULT);
  if (!bpf::valid(head->program)) return SysRet::fail(EINVAL);
  return push(c, std::move(head));
}

SysRet install_strict(const CallContext& c) {
  auto head = std::make_shared<SeccompState>();
  head->strict = true;
  return push(c, std::move(head));
}

SysRet action_available(std::uint64_t at) {
  std::uint32_t action = 0;
  if (!mem::get(action, at)) return SysRet::fail(EFAULT);
  switch (action) {
    case SECCOMP_RET_KILL_PROCESS:
    case SECCOMP_RET_KILL_THREAD:
    case SECCOMP_RET_TRAP:
    case SECCOMP_RET_ERRNO:
    case SECCOMP_RET_TRACE:
    case SECCOMP_RET_LOG:
    case SECCOMP_RET_ALLOW: return SysRet::ok();
    default: return SysRet::fail(EOPNOTSUPP);  // SECCOMP_RET_USER_NOTIF among them
  }
}

SysRet notification_sizes(std::uint64_t at) {
  const std::array<std::uint16_t, 3> sizes{sizeof(seccomp_notif), sizeof(seccomp_notif_resp),
                                           sizeof(bpf::Data)};
  return mem::put(at, sizes) ? SysRet::ok() : SysRet::fail(EFAULT);
}

}  // namespace

bool seccomp_allows(Task& t, Abi abi, std::uint32_t nr, const sys::Args& args) {
  const SeccompState& state = *t.process->seccomp;
  if (state.strict) {
    if (strict_allows(abi, nr)) return true;
    refuse_strict(t);
    return false;
  }
  bpf::Data data{static_cast<std::int32_t>(nr), arch_of(abi), t.vcpu->regs().rip, {}};
  std::copy(args.begin(), args.end(), data.args);
  const std::uint32_t word = judge(state, data);
  switch (word & SECCOMP_RET_ACTION_FULL) {
    case SECCOMP_RET_ALLOW:
    case SECCOMP_RET_LOG: return true;
    case SECCOMP_RET_ERRNO:
      answer(t, abi, -static_cast<std::int64_t>(std::min(word & SECCOMP_RET_DATA, 4095U)));
      return false;
    case SECCOMP_RET_TRAP:
      // The handler finds the call's number in rax still, as after the kernel's roll-back.
      force_signal(t, seccomp_info(t, abi, nr, word));
      return false;
    case SECCOMP_RET_TRACE:       // nobody can trace a guest
    case SECCOMP_RET_USER_NOTIF:  // no listener can have been made
      answer(t, abi, -ENOSYS);
      return false;
    case SECCOMP_RET_KILL_THREAD: kill_thread(t, seccomp_info(t, abi, nr, word)); return false;
    default: die_by_signal(t, seccomp_info(t, abi, nr, word));  // KILL_PROCESS, and actions nobody knows
  }
}

SysRet seccomp_set(const CallContext& c, std::uint64_t operation, std::uint64_t flags, std::uint64_t args) {
  const auto wide_flags = flags & 0xffff'ffffU;
  // A filter sees every call, so every call has to come here.
  const AtHome at_home(c.task);
  home_of(c.task).forbid_local_calls();
  switch (operation & 0xffff'ffffU) {
    case SECCOMP_SET_MODE_STRICT:
      return wide_flags != 0 || args != 0 ? SysRet::fail(EINVAL) : install_strict(c);
    case SECCOMP_SET_MODE_FILTER: return install_filter(c, wide_flags, args);
    case SECCOMP_GET_ACTION_AVAIL: return wide_flags != 0 ? SysRet::fail(EINVAL) : action_available(args);
    case SECCOMP_GET_NOTIF_SIZES: return wide_flags != 0 ? SysRet::fail(EINVAL) : notification_sizes(args);
    default: return SysRet::fail(EINVAL);
  }
}

std::uint64_t seccomp_mode(const Task& t) {
  const SeccompState* const state = t.process->seccomp.get();
  if (state == nullptr) return SECCOMP_MODE_DISABLED;
  return state->strict ? SECCOMP_MODE_STRICT : SECCOMP_MODE_FILTER;
}

std::uint64_t seccomp_filters(const Task& t) {
  std::uint64_t n = 0;
  for (const SeccompState* s = t.process->seccomp.get(); s != nullptr; s = s->earlier.get())
    n += s->strict ? 0 : 1;
  return n;
}

// The oldest filter first, each ended by ';': "s;" is strict mode, else 16 hex digits an instruction.

std::string seccomp_encode(const SeccompState& state) {
  std::string text = state.earlier != nullptr ? seccomp_encode(*state.earlier) : std::string();
  if (state.strict) return text + "s;";
  constexpr char kDigits[] = "0123456789abcdef";
  for (const bpf::Insn& i : state.program) {
    const std::uint64_t packed =
        std::uint64_t{i.code} << 48 | std::uint64_t{i.jt} << 40 | std::uint64_t{i.jf} << 32 | i.k;
    for (int shift = 60; shift >= 0; shift -= 4) text += kDigits[packed >> shift & 15U];
  }
  return text + ';';
}

std::shared_ptr<SeccompState> seccomp_decode(std::string_view text) {
  std::shared_ptr<SeccompState> head;
  while (!text.empty()) {
    const std::size_t end = text.find(';');
    if (end == std::string_view::npos) return nullptr;
    const std::string_view one = text.substr(0, end);
    text.remove_prefix(end + 1);
    auto next = std::make_shared<SeccompState>();
    next->earlier = std::move(head);
    next->strict = one == "s";
    for (std::size_t at = 0; !next->strict && at < one.size(); at += 16) {
      std::uint64_t packed = 0;
      const std::string_view digits = one.substr(at, 16);
      const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), packed, 16);
      if (error != std::errc{} || stop != digits.data() + 16) return nullptr;
      next->program.push_back({static_cast<std::uint16_t>(packed >> 48),
                               static_cast<std::uint8_t>(packed >> 40),
                               static_cast<std::uint8_t>(packed >> 32), static_cast<std::uint32_t>(packed)});
    }
    if (!next->strict && !bpf::valid(next->program)) return nullptr;
    head = std::move(next);
  }
  return head;
}

}  // namespace hpcvmm::deputy
