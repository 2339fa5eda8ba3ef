// seccomp for guests: filters judge the guest's calls, not the VMM's.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "vmm/deputy/dispatch.hh"

namespace hpcvmm::deputy {

/// Runs the process's filters over one call.  False: the filter has answered for it (errno stored in the
/// registers, a signal sent, or the process ended).
bool seccomp_allows(Task& t, Abi abi, std::uint32_t nr, const sys::Args& args);
/// prctl(PR_SET_SECCOMP) and seccomp(2).
sys::SysRet seccomp_set(const CallContext& c, std::uint64_t operation, std::uint64_t flags,
                        std::uint64_t args);
/// prctl(PR_GET_SECCOMP): SECCOMP_MODE_* of the task.
std::uint64_t seccomp_mode(const Task& t);

/// How many filters are installed.
std::uint64_t seccomp_filters(const Task& t);

/// The state as text, for the configuration that goes through exec, and back; nullptr if it is not such a
/// text.
std::string seccomp_encode(const SeccompState& state);
std::shared_ptr<SeccompState> seccomp_decode(std::string_view text);

}  // namespace hpcvmm::deputy
