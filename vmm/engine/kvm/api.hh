// Typed KVM ioctls.
#pragma once

#include <linux/stddef.h>
// linux-libc-dev 6.1 gives an empty struct here, which has size 1 in C++ and so wrong ioctl numbers.
#undef __DECLARE_FLEX_ARRAY
#define __DECLARE_FLEX_ARRAY(T, N) T N[0]  // NOLINT: the kernel's name
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#include <linux/kvm.h>
#pragma GCC diagnostic pop
#include <sys/ioctl.h>

#include "hpcvmm/base/result.hh"

namespace hpcvmm::engine::kvm {

/// Issues a KVM ioctl, again after EINTR (VM creation can be interrupted by a signal).
/// Source: Linux Documentation/virt/kvm/api.rst.
template <class Arg> Status call(int fd, unsigned long request, Arg arg, const char* name) {
  int rc = 0;
  do rc = ::ioctl(fd, request, arg);
  while (rc < 0 && errno == EINTR);
  if (rc < 0) return Error::last(name);
  return Unit{};
}
template <class Arg> Result<int> call_fd(int fd, unsigned long request, Arg arg, const char* name) {
  int rc = 0;
  do rc = ::ioctl(fd, request, arg);
  while (rc < 0 && errno == EINTR);
  if (rc < 0) return Error::last(name);
  return rc;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"  // the kernel's structures end in an array of length zero
struct CpuidTable {
  kvm_cpuid2 head;
  kvm_cpuid_entry2 entries[192];
};
template <unsigned N> struct MsrTable {
  kvm_msrs head;
  kvm_msr_entry entries[N];
};
#pragma GCC diagnostic pop

#ifndef KVM_EXIT_MEMORY_FAULT  // Linux 6.8
#define KVM_EXIT_MEMORY_FAULT 39
#endif

}  // namespace hpcvmm::engine::kvm
