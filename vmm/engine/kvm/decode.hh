// Pure parts of the kvm engine: what an exit and an interrupted vCPU's registers mean, lookups in CPUID
// tables. No ioctl.
#pragma once

#include <cpuid.h>

#include <cstring>

#include "vmm/engine/engine.hh"
#include "vmm/engine/kvm/api.hh"
#include "vmm/engine/kvm/layout.hh"

namespace hpcvmm::engine::kvm {

/// A `syscall` has been executed, its exit not yet made: gives the exit, with the user's registers restored.
inline Exit as_syscall(GuestRegs& r) {
  r.rip = r.rcx;
  r.rflags = r.r11;
  r.cs = kUserCs64;
  r.ss = kUserDs;
  return {.kind = ExitKind::Syscall64};
}

/// What a kicked vCPU's state means.  At the LSTAR entry the call has been made: it is the exit.  At the
/// `sysretq` (VT-x/SVM) the call is over and the user's state is in rcx and r11.  Everywhere else the
/// registers are clean.
inline Exit interrupted_at(GuestRegs& r, std::uint64_t sysret_address) {
  if (r.rip == kStubCode) return as_syscall(r);
  if (r.rip == sysret_address && (r.cs & 3) == 0) static_cast<void>(as_syscall(r));
  return {.kind = ExitKind::Interrupted};
}

/// An exit made by an `out`: what decides its meaning besides the registers.
struct IoExit {
  std::uint16_t port = 0;
  bool at_user = false;        // the vCPU is at CPL 3 with user segments loaded
  const char* page = nullptr;  // this vCPU's page: kPageSize bytes, the exception stack at its end
  std::uint64_t page_va = 0;   // where the guest has it
  std::uint64_t cr2 = 0;
  /// Reads guest memory without crashing on a bad address.
  bool (*copy_in)(void* to, std::uint64_t guest, std::size_t bytes) = nullptr;
};

/// Gives the exit that `io` is and leaves the user's registers in `r`: from the frame on the exception stack,
/// or from rcx and r11.  Never reads outside the page, whatever the registers are.  Any thread.
Exit decode_io(const IoExit& io, GuestRegs& r);

inline const kvm_cpuid_entry2* find_cpuid(const CpuidTable& t, unsigned leaf, unsigned sub) {
  for (unsigned i = 0; i < t.head.nent; ++i)
    if (t.entries[i].function == leaf && t.entries[i].index == sub) return &t.entries[i];
  return nullptr;
}
inline bool cpuid_has_leaf(const CpuidTable& t, unsigned leaf) {
  const auto* e = find_cpuid(t, leaf, 0);
  return e != nullptr && e->eax != 0;
}
inline bool cpuid_bit(const CpuidTable& t, unsigned leaf, unsigned sub, char reg, unsigned bit) {
  const auto* e = find_cpuid(t, leaf, sub);
  if (e == nullptr) return false;
  const std::uint32_t v = reg == 'a' ? e->eax : reg == 'b' ? e->ebx : reg == 'c' ? e->ecx : e->edx;
  return (v >> bit & 1) != 0;
}

/// The FP state a fresh process starts with, in XSAVE layout.  Source: Intel SDM vol. 1, 13.4.
inline void init_fp_area(FpState& fp) {
  fp.area.fill(std::byte{0});
  const std::uint16_t fcw = 0x37f;
  const std::uint32_t mxcsr = 0x1f80;
  const std::uint64_t xstate_bv = 3;
  std::memcpy(fp.area.data(), &fcw, sizeof fcw);
  std::memcpy(fp.area.data() + 24, &mxcsr, sizeof mxcsr);
  std::memcpy(fp.area.data() + 512, &xstate_bv, sizeof xstate_bv);
  // Asked once: CPUID traps where the host is itself a guest (4 us each, measured).
  // What lies within the area that this version carries: AMX (8 KiB behind it) is not offered to guests, yet
  // counts in the host's own size.
  static const std::uint32_t bytes = [] {
    unsigned a = 0;
    unsigned b = 0;
    unsigned c = 0;
    unsigned d = 0;
    if (__get_cpuid_count(0xd, 0, &a, &b, &c, &d) == 0 || b <= 576) return 576U;
    unsigned enabled = 0;
    asm("xgetbv" : "=a"(enabled), "=d"(d) : "c"(0));  // more than the legacy part: XSAVE is on
    unsigned end = 576;
    for (unsigned i = 2; i < 32; ++i) {
      if ((enabled >> i & 1) == 0 || __get_cpuid_count(0xd, i, &a, &b, &c, &d) == 0) continue;
      if (a != 0 && b + a <= FpState::kMaxBytes && b + a > end) end = b + a;
    }
    return end;
  }();
  fp.bytes = bytes;
}

}  // namespace hpcvmm::engine::kvm
