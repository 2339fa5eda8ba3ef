// <linux/kvm.h> with usable structures.
#pragma once
#pragma GCC system_header

// linux-libc-dev 6.1 puts an empty struct in front of flexible arrays; in C++ that has size 1, and so the
// structures and the ioctl numbers made of their sizes come out wrong (EINVAL).
#include <linux/stddef.h>
#undef __DECLARE_FLEX_ARRAY
#define __DECLARE_FLEX_ARRAY(T, N) T N[0]
#include <linux/kvm.h>

// Flexible arrays with their elements behind them; defined in here because a system header may.
namespace hpcvmm::probe {
struct CpuidBuffer {
  kvm_cpuid2 head;
  kvm_cpuid_entry2 entries[256];
};
struct MsrBuffer {
  kvm_msrs head;
  kvm_msr_entry entries[3];
};
}  // namespace hpcvmm::probe
