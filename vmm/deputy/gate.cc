#include "vmm/deputy/gate.hh"

#include "vmm/deputy/task.hh"

extern "C" {
std::int64_t hpcvmm_gate64(std::uint64_t nr, const std::uint64_t* args, const volatile int* pending);
std::int64_t hpcvmm_gate32(std::uint64_t nr, const std::uint64_t* args, const volatile int* pending);
// NOLINTBEGIN: labels of gate_asm.S
extern const char hpcvmm_gate64_begin[], hpcvmm_gate64_done[], hpcvmm_gate64_abort[];
extern const char hpcvmm_gate32_begin[], hpcvmm_gate32_done[], hpcvmm_gate32_abort[];
// NOLINTEND
}

namespace hpcvmm::deputy {
namespace {
constexpr std::uint64_t kRestartSyscall64 = 219;
constexpr std::uint64_t kRestartSyscall32 = 0;
}  // namespace

sys::SysRet gate64(std::uint64_t nr, const sys::Args& args) {
  return sys::SysRet::raw(hpcvmm_gate64(nr, args.data(), &self().signal_recorded));
}

sys::SysRet gate32(std::uint64_t nr, const sys::Args& args) {
  const std::int64_t rc = hpcvmm_gate32(nr, args.data(), &self().signal_recorded);
  if (sys::SysRet::raw(rc).is_restart()) return sys::SysRet::restart();
  // A 32-bit result: errors sign-extended, everything else (addresses, ids) zero-extended.
  const auto low = static_cast<std::int32_t>(rc);
  if (low < 0 && low >= -4095) return sys::SysRet::raw(low);
  return sys::SysRet::raw(static_cast<std::uint32_t>(low));
}

std::uint64_t leave_gate(std::uint64_t rip, std::uint64_t& rax) {
  const auto within = [rip](const char* begin, const char* done) {
    return rip >= word(begin) && rip < word(done);
  };
  const bool in64 = within(hpcvmm_gate64_begin, hpcvmm_gate64_done);
  if (!in64 && !within(hpcvmm_gate32_begin, hpcvmm_gate32_done)) return rip;
  // An earlier stop and continue left the call half waited for (ERESTART_RESTARTBLOCK): with a handler to
  // run, Linux ends such a call with EINTR.
  if (rax == (in64 ? kRestartSyscall64 : kRestartSyscall32)) {
    rax = word(-EINTR);
    return word(in64 ? hpcvmm_gate64_done : hpcvmm_gate32_done);
  }
  return word(in64 ? hpcvmm_gate64_abort : hpcvmm_gate32_abort);
}

// NOLINTNEXTLINE(readability-function-size): a call's number and its six words
std::int64_t raw_call(long nr, std::uint64_t a, std::uint64_t b, std::uint64_t c, std::uint64_t d,
                      std::uint64_t e, std::uint64_t f) {
  std::int64_t rc = nr;
  register std::uint64_t r10 asm("r10") = d;
  register std::uint64_t r8 asm("r8") = e;
  register std::uint64_t r9 asm("r9") = f;
  asm volatile("syscall"
               : "+a"(rc)
               : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return rc;
}

}  // namespace hpcvmm::deputy
