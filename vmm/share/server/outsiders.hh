// Whether processes that are no sharers of ours map an object: they would not see pages that are elsewhere.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace hpcvmm::share {

struct Outsider {
  std::string name;     ///< "NAME (pid N)"; empty: there is none
  bool is_own = false;  ///< hpc-vmm runs it: it has just been forked and will tell soon, or has another home
};
/// True if the process has the file open or mapped.
bool has_file(std::int32_t pid, std::uint64_t device, std::uint64_t inode);
/// A process other than `ours` (and what shares their memory) that maps the file or has it
/// open.  Looks at all that this
/// user may look at: milliseconds.  Threads: any.
Outsider find_outsider(std::uint64_t device, std::uint64_t inode, const std::vector<std::int32_t>& ours);

}  // namespace hpcvmm::share
