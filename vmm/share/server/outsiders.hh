// Whether processes that are no sharers of ours map an object: they would not see pages that are elsewhere.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace hpcvmm::share {

/// A process other than `ours` (and what shares their memory) that maps the file: "NAME (pid N)"; empty:
/// none.  Looks at all that this user may look at: milliseconds.  Threads: any.
std::string find_outsider(std::uint64_t device, std::uint64_t inode, const std::vector<std::int32_t>& ours);

}  // namespace hpcvmm::share
