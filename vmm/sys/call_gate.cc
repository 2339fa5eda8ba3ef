#include "vmm/sys/call_gate.hh"

#include <cerrno>

extern "C" {
std::int64_t hpcvmm_gate64(std::uint64_t nr, const std::uint64_t* args, const volatile int* pending);
std::int64_t hpcvmm_gate32(std::uint64_t nr, const std::uint64_t* args, const volatile int* pending);
// NOLINTBEGIN: labels of gate_asm.S
extern const char hpcvmm_gate64_begin[], hpcvmm_gate64_done[], hpcvmm_gate64_abort[];
extern const char hpcvmm_gate32_begin[], hpcvmm_gate32_done[], hpcvmm_gate32_abort[];
// NOLINTEND
}

namespace hpcvmm::sys {
namespace {

constexpr std::uint64_t kRestartSyscall64 = 219;
constexpr std::uint64_t kRestartSyscall32 = 0;

std::uint64_t address(const char* label) { return reinterpret_cast<std::uint64_t>(label); }

}  // namespace

SysRet gated_call64(std::uint64_t nr, const Args& args, const volatile int& pending) {
  return SysRet::raw(hpcvmm_gate64(nr, args.data(), &pending));
}

SysRet gated_call32(std::uint64_t nr, const Args& args, const volatile int& pending) {
  const std::int64_t rc = hpcvmm_gate32(nr, args.data(), &pending);
  if (SysRet::raw(rc).is_restart()) return SysRet::restart();
  // A 32-bit result: errors sign-extended, everything else (addresses, ids) zero-extended.
  const auto low = static_cast<std::int32_t>(rc);
  if (low < 0 && low >= -4095) return SysRet::raw(low);
  return SysRet::raw(static_cast<std::uint32_t>(low));
}

std::uint64_t leave_gate(std::uint64_t rip, std::uint64_t& rax) {
  const auto within = [rip](const char* begin, const char* done) {
    return rip >= address(begin) && rip < address(done);
  };
  const bool in64 = within(hpcvmm_gate64_begin, hpcvmm_gate64_done);
  if (!in64 && !within(hpcvmm_gate32_begin, hpcvmm_gate32_done)) return rip;
  // An earlier stop and continue left the call half waited for (ERESTART_RESTARTBLOCK): with a handler to
  // run, Linux ends such a call with EINTR.
  if (rax == (in64 ? kRestartSyscall64 : kRestartSyscall32)) {
    rax = static_cast<std::uint64_t>(-EINTR);
    return address(in64 ? hpcvmm_gate64_done : hpcvmm_gate32_done);
  }
  return address(in64 ? hpcvmm_gate64_abort : hpcvmm_gate32_abort);
}

}  // namespace hpcvmm::sys
