#include "vmm/sys/siginfo.hh"

#include <cstddef>
#include <cstring>

namespace hpcvmm::sys {
namespace {

using layout::SigInfo32;
using layout::SigInfo64;

static_assert(sizeof(siginfo_t) == sizeof(SigInfo64));

constexpr int kKernelCode = 0x80;  // SI_KERNEL
constexpr int kBusMceAr = 4, kBusMceAo = 5, kSegvBnd = 3, kSegvPku = 4, kTrapPerf = 6;
constexpr int kPollCodes = 6;
constexpr std::size_t kKernelInfoBytes = 48;  // sizeof(struct kernel_siginfo)

struct Codes {
  int limit;  // greatest si_code with this layout
  InfoLayout layout;
};

constexpr Codes codes_of(int signo) {
  switch (signo) {
    case SIGILL: return {11, InfoLayout::Fault};
    case SIGFPE: return {15, InfoLayout::Fault};
    case SIGSEGV: return {10, InfoLayout::Fault};
    case SIGBUS: return {5, InfoLayout::Fault};
    case SIGTRAP: return {6, InfoLayout::Fault};
    case SIGCHLD: return {6, InfoLayout::Chld};
    case SIGPOLL: return {kPollCodes, InfoLayout::Poll};
    case SIGSYS: return {2, InfoLayout::Sys};
    default: return {0, InfoLayout::Kill};
  }
}

constexpr InfoLayout refine_fault(int signo, int code) {
  if (signo == SIGBUS && code >= kBusMceAr && code <= kBusMceAo) return InfoLayout::FaultMceErr;
  if (signo == SIGSEGV && code == kSegvBnd) return InfoLayout::FaultBndErr;
  if (signo == SIGSEGV && code == kSegvPku) return InfoLayout::FaultPkuErr;
  if (signo == SIGTRAP && code == kTrapPerf) return InfoLayout::FaultPerfEvent;
  return InfoLayout::Fault;
}

template <class To, class From> void convert_fault(InfoLayout kind, const From& from, To& to) {
  using Word = decltype(to.fault.addr);
  to.fault.addr = static_cast<Word>(from.fault.addr);
  switch (kind) {
    case InfoLayout::FaultMceErr: to.fault.lsb = from.fault.lsb; break;
    case InfoLayout::FaultBndErr:
      to.fault.bnd.lower = static_cast<Word>(from.fault.bnd.lower);
      to.fault.bnd.upper = static_cast<Word>(from.fault.bnd.upper);
      break;
    case InfoLayout::FaultPkuErr: to.fault.pkey.key = from.fault.pkey.key; break;
    case InfoLayout::FaultPerfEvent:
      to.fault.perf.data = static_cast<Word>(from.fault.perf.data);
      to.fault.perf.type = from.fault.perf.type;
      to.fault.perf.flags = from.fault.perf.flags;
      break;
    default: break;
  }
}

/// Both directions: unsigned words widen with zeros (a sigval, as Linux copies only si_int), signed ones with
/// the sign.
template <class To, class From> void convert(const From& from, To& to) {
  using Word = decltype(to.rt.value);
  using SWord = decltype(to.poll.band);
  std::memset(&to, 0, sizeof(to));
  to.signo = from.signo;
  to.err = from.err;
  to.code = from.code;
  const InfoLayout kind = info_layout(from.signo, from.code);
  switch (kind) {
    case InfoLayout::Kill:
      to.kill.pid = from.kill.pid;
      to.kill.uid = from.kill.uid;
      break;
    case InfoLayout::Timer:
      to.timer.tid = from.timer.tid;
      to.timer.overrun = from.timer.overrun;
      to.timer.value = static_cast<Word>(from.timer.value);
      break;
    case InfoLayout::Poll:
      to.poll.band = static_cast<SWord>(from.poll.band);
      to.poll.fd = from.poll.fd;
      break;
    case InfoLayout::Chld:
      to.chld.pid = from.chld.pid;
      to.chld.uid = from.chld.uid;
      to.chld.status = from.chld.status;
      to.chld.utime = static_cast<SWord>(from.chld.utime);
      to.chld.stime = static_cast<SWord>(from.chld.stime);
      break;
    case InfoLayout::Rt:
      to.rt.pid = from.rt.pid;
      to.rt.uid = from.rt.uid;
      to.rt.value = static_cast<Word>(from.rt.value);
      break;
    case InfoLayout::Sys:
      to.sys.call_addr = static_cast<Word>(from.sys.call_addr);
      to.sys.syscall = from.sys.syscall;
      to.sys.arch = from.sys.arch;
      break;
    default: convert_fault(kind, from, to); break;
  }
}

}  // namespace

InfoLayout info_layout(int signo, int code) {
  if (code > SI_USER && code < kKernelCode) {
    const Codes codes = codes_of(signo);
    if (code <= codes.limit) {
      return codes.layout == InfoLayout::Fault ? refine_fault(signo, code) : codes.layout;
    }
    return code <= kPollCodes ? InfoLayout::Poll : InfoLayout::Kill;
  }
  if (code == SI_TIMER) return InfoLayout::Timer;
  if (code == SI_SIGIO) return InfoLayout::Poll;
  return code < 0 ? InfoLayout::Rt : InfoLayout::Kill;
}

void to_compat(const siginfo_t& from, SigInfo32& to) {
  SigInfo64 native;
  std::memcpy(&native, &from, sizeof(native));
  convert(native, to);
}

void from_compat(const SigInfo32& from, siginfo_t& to) {
  SigInfo64 native;
  convert(from, native);
  std::memcpy(&to, &native, sizeof(to));
}

void to_native(const siginfo_t& from, SigInfo64& to) {
  std::memset(&to, 0, sizeof(to));
  std::memcpy(&to, &from, kKernelInfoBytes);
}

}  // namespace hpcvmm::sys
