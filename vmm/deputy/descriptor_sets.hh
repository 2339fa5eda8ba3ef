// How many descriptors select(2) looks at.
#pragma once

#include <array>
#include <cstdint>

namespace hpcvmm::deputy {

/// What the first word of select(2) is for a guest that gives `n` and these three sets (0: none).  Linux
/// looks at no more descriptors than the process's table has room for, so programs pass getdtablesize() with
/// sets of FD_SETSIZE; here the table has the VMM's descriptors, too, far up, and the kernel would look
/// behind such sets. The result is `n` up to FD_SETSIZE; above, it covers the guest's descriptors that are
/// open or have been seen here.  Source: core_sys_select() reads and writes that many.  Threads: any.
int descriptors_looked_at(int n, const std::array<std::uint64_t, 3>& sets);

}  // namespace hpcvmm::deputy
