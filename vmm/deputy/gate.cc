#include "vmm/deputy/gate.hh"

#include "vmm/deputy/task.hh"
#include "vmm/sys/call_gate.hh"

namespace hpcvmm::deputy {

sys::SysRet gate64(std::uint64_t nr, const sys::Args& args) {
  return sys::gated_call64(nr, args, self().signal_recorded);
}

sys::SysRet gate32(std::uint64_t nr, const sys::Args& args) {
  return sys::gated_call32(nr, args, self().signal_recorded);
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
