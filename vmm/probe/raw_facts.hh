// What the measurements bring back from their child processes: plain numbers, judged in measure.cc.
#pragma once

#include <cstdint>

#include "vmm/probe/engine_facts.hh"
#include "vmm/probe/guarded.hh"

namespace hpcvmm::probe {

/// Device, capabilities and 64-bit code on KVM.  Times in microseconds, 0 = not measured.
struct KvmBase {
  int failed_errno = 0;  // of the first step that failed; failed_step names it
  char failed_step[48] = "";
  int api_version = 0;
  int nr_memslots = 0, max_vcpus = 0, sync_regs = 0;
  CodeRun run64 = CodeRun::Absent;
  double mips64 = 0, mips_native = 0;
  double exit_us = 0;     // out at CPL 3, to user space and back
  double syscall_us = 0;  // through LSTAR, with the way back
  int lstar_cpl = -1;
};
struct Kvm32 {
  int failed_errno = 0;
  CodeRun run32 = CodeRun::Absent;
  double mips32 = 0;
  double int80_us = 0;
  bool int80_as_undefined = false;
};
struct Kvm32Sse {
  bool works = false;
};
struct KvmTouch {
  double touch4k_us = 0;    // per 4 KiB page
  double touch2m_us = 0;    // per 2 MiB, transparent huge page in the host
  bool huge_given = false;  // the host really had a huge page there
};
/// True if the result is a fact about the host and not about this moment (no memory, limit reached, no
/// process).
bool conclusive(Outcome outcome, int failed_errno = 0);

void probe_kvm_base(KvmBase& out);
void probe_kvm32(Kvm32& out);
void probe_kvm32_sse(Kvm32Sse& out);
void probe_kvm_touch(KvmTouch& out);
/// Only whether the code runs natively; a tenth of the time of the full probes.
void probe_kvm_run64(KvmBase& out);
void probe_kvm_run32(Kvm32& out);

struct Direct64 {
  bool dispatch = false;  // Syscall User Dispatch brought a system call back
  int failed_errno = 0;
  double dispatch_us = 0;
};
struct Direct32 {
  bool emulation = false;  // 32-bit code ran and int $0x80 reached the kernel's IA32 layer
  bool dispatch = false;
  double int80_us = 0;  // undispatched
  double dispatch_us = 0;
};
void probe_direct64(Direct64& out);
void probe_direct32(Direct32& out);

struct Userfault {
  bool syscall_works = false, device_works = false;
  int failed_errno = 0;
  std::uint64_t features = 0;
};
void probe_userfault(Userfault& out);

}  // namespace hpcvmm::probe
