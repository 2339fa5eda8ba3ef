// What 32-bit guests need of the host kernel: compatibility mode and TLS entries in the host thread's GDT.
#pragma once

#include <cstdint>

#include "hpcvmm/base/result.hh"

namespace hpcvmm::engine::direct {

/// struct user_desc of <asm/ldt.h>, which is the argument of set_thread_area(2).
struct UserDesc {
  std::uint32_t entry_number;
  std::uint32_t base_addr;
  std::uint32_t limit;
  std::uint32_t
      flags;  ///< seg_32bit:1 contents:2 read_exec_only:1 limit_in_pages:1 seg_not_present:1 useable:1
};

/// GDT descriptor -> user_desc.  0 becomes the "empty" one that clears an entry.  Pure.
UserDesc user_desc_of(unsigned entry, std::uint64_t descriptor);

/// Sets entry kTlsFirst + index of the calling host thread's GDT.  Errors: EINVAL the kernel refuses the
/// descriptor (it takes 32-bit data segments only), ENOSYS no IA32 emulation, ENOMEM no low page for the
/// argument. Threads: any; serialised inside.  Signal-safe: no.
Status set_host_tls(unsigned index, std::uint64_t descriptor);

/// In a fork child: the lock of set_host_tls() may have been held by a thread that is not here.
void ia32_after_fork();

}  // namespace hpcvmm::engine::direct
