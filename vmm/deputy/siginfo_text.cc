#include "vmm/deputy/siginfo_text.hh"

#include <linux/audit.h>
#include <sys/wait.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <span>

#include "vmm/sys/trace_print.hh"

namespace hpcvmm::deputy {
namespace {

struct Sym {
  int value;
  const char* name;
};
#define S(x) \
  { x, #x }
constexpr Sym kAnySignal[] = {S(SI_USER),  S(SI_KERNEL),  S(SI_QUEUE), S(SI_TIMER),
                              S(SI_MESGQ), S(SI_ASYNCIO), S(SI_SIGIO), S(SI_TKILL)};
constexpr Sym kSegv[] = {S(SEGV_MAPERR), S(SEGV_ACCERR), S(SEGV_BNDERR), S(SEGV_PKUERR)};
constexpr Sym kBus[] = {S(BUS_ADRALN), S(BUS_ADRERR), S(BUS_OBJERR), S(BUS_MCEERR_AR), S(BUS_MCEERR_AO)};
constexpr Sym kFpe[] = {S(FPE_INTDIV), S(FPE_INTOVF), S(FPE_FLTDIV), S(FPE_FLTOVF),
                        S(FPE_FLTUND), S(FPE_FLTRES), S(FPE_FLTINV), S(FPE_FLTSUB)};
constexpr Sym kIll[] = {S(ILL_ILLOPC), S(ILL_ILLOPN), S(ILL_ILLADR), S(ILL_ILLTRP),
                        S(ILL_PRVOPC), S(ILL_PRVREG), S(ILL_COPROC), S(ILL_BADSTK)};
constexpr Sym kTrap[] = {S(TRAP_BRKPT), S(TRAP_TRACE), S(TRAP_BRANCH), S(TRAP_HWBKPT)};
constexpr Sym kChild[] = {S(CLD_EXITED),  S(CLD_KILLED),  S(CLD_DUMPED),
                          S(CLD_TRAPPED), S(CLD_STOPPED), S(CLD_CONTINUED)};
constexpr Sym kPoll[] = {S(POLL_IN), S(POLL_OUT), S(POLL_MSG), S(POLL_ERR), S(POLL_PRI), S(POLL_HUP)};
#undef S
constexpr Sym kSys[] = {{1, "SYS_SECCOMP"}, {2, "SYS_USER_DISPATCH"}};

std::span<const Sym> codes_of(int signo) {
  switch (signo) {
    case SIGSEGV: return kSegv;
    case SIGBUS: return kBus;
    case SIGFPE: return kFpe;
    case SIGILL: return kIll;
    case SIGTRAP: return kTrap;
    case SIGCHLD: return kChild;
    case SIGIO: return kPoll;
    case SIGSYS: return kSys;
    default: return {};
  }
}

const char* find(std::span<const Sym> symbols, int value) {
  for (const Sym& s : symbols)
    if (s.value == value) return s.name;
  return nullptr;
}

void put_code(std::string& out, const siginfo_t& info) {
  const char* name = find(kAnySignal, info.si_code);
  if (name == nullptr) name = find(codes_of(info.si_signo), info.si_code);
  out += ", si_code=";
  if (name != nullptr) {
    out += name;
  } else {
    sys::put_dec(out, info.si_code);
  }
}

void put_number(std::string& out, const char* field, std::int64_t value) {
  (out += field) += '=';
  sys::put_dec(out, value);
}

void put_address(std::string& out, const char* field, const void* at) {
  (out += field) += '=';
  if (at == nullptr) {
    out += "NULL";
  } else {
    sys::put_hex(out, reinterpret_cast<std::uint64_t>(at));
  }
}

void put_sender(std::string& out, const siginfo_t& info) {
  put_number(out, ", si_pid", info.si_pid);
  put_number(out, ", si_uid", info.si_uid);
}

void put_value(std::string& out, const siginfo_t& info) {
  put_number(out, ", si_int", info.si_value.sival_int);
  put_address(out, ", si_ptr", info.si_value.sival_ptr);
}

void put_child(std::string& out, const siginfo_t& info) {
  put_sender(out, info);
  if (info.si_code == CLD_EXITED) {
    put_number(out, ", si_status", info.si_status);
  } else {
    out += ", si_status=";
    sys::put_signal(out, static_cast<std::uint64_t>(info.si_status));
  }
  put_number(out, ", si_utime", info.si_utime);
  put_number(out, ", si_stime", info.si_stime);
}

void put_refused_call(std::string& out, const siginfo_t& info) {
  put_address(out, ", si_call_addr", info.si_call_addr);
  put_number(out, ", si_syscall", info.si_syscall);
  out += ", si_arch=";
  out += info.si_arch == AUDIT_ARCH_X86_64 ? "AUDIT_ARCH_X86_64" : "AUDIT_ARCH_I386";
}

/// The fields that sender and signal make meaningful.
void put_details(std::string& out, const siginfo_t& info) {
  switch (info.si_code) {
    case SI_USER:
    case SI_TKILL: return put_sender(out, info);
    case SI_TIMER:
      put_number(out, ", si_timerid", info.si_timerid);
      put_number(out, ", si_overrun", info.si_overrun);
      return put_value(out, info);
    case SI_QUEUE:
    case SI_MESGQ:
    case SI_ASYNCIO: put_sender(out, info); return put_value(out, info);
    default: break;
  }
  switch (info.si_signo) {
    case SIGSEGV:
    case SIGBUS:
    case SIGFPE:
    case SIGILL:
    case SIGTRAP: return put_address(out, ", si_addr", info.si_addr);
    case SIGCHLD: return put_child(out, info);
    case SIGIO: put_number(out, ", si_band", info.si_band); return put_number(out, ", si_fd", info.si_fd);
    case SIGSYS: return put_refused_call(out, info);
    default:
      if (info.si_pid != 0 || info.si_uid != 0) put_sender(out, info);
  }
}

}  // namespace

void format_signal(std::string& out, const siginfo_t& info) {
  const auto signo = static_cast<std::uint64_t>(info.si_signo);
  out += "--- ";
  sys::put_signal(out, signo);
  out += " {si_signo=";
  sys::put_signal(out, signo);
  put_code(out, info);
  if (info.si_errno != 0) put_number(out, ", si_errno", info.si_errno);
  put_details(out, info);
  out += "} ---";
}

}  // namespace hpcvmm::deputy
