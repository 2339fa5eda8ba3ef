// execve: from one program to the next.
//
// The old image checks everything execve(2) can refuse, then executes the hpc-vmm executable itself with the
// guest's argument and environment strings, so that the kernel does what exec does to descriptors, signals,
// timers, threads, credentials and accounting.  What the new image must know besides travels in a memfd.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "vmm/deputy/task.hh"
#include "vmm/load/program.hh"

namespace hpcvmm::deputy {

/// argv[0] of an executable that has executed itself; what follows is the number of the memfd.
inline constexpr const char* kExecMark = "\001hpc-vmm-exec";

struct ExecConfig {
  Options options;
  // The program as the old image has resolved it: what it checked is what runs, whatever happens to the path
  // meanwhile.
  int program_fd = -1;
  std::string execfn, path;
  bool secure = false;
  std::uint64_t nofile_hard = ~std::uint64_t{0};
  std::uint64_t mask = 0;  // guest's signal mask
  int kvm_fd = -1, self_fd = -1;
  std::string seccomp;
  std::string affinity;  // the executing thread's CPUs of the cluster; empty: all
  std::uint64_t used_user_us = 0, used_system_us = 0;  // the executing thread's CPU time away
  std::string cpuid;                                   // engine::kvm::cpuid_bytes()
};

std::string encode(const ExecConfig& c);
bool decode(const std::string& bytes, ExecConfig& c);

/// All memory that an execve needs.  A vfork child has its parent's heap and does not come back from a
/// successful exec, so this belongs to its Task, which the parent frees: nothing on the child's stack may own
/// heap memory when the host call is issued.  Descriptors here are numbers of the child's table, which the
/// parent must not close.
struct ExecPlan {
  load::ExecRequest request;
  std::vector<std::string> env;
  load::Program program;
  ExecConfig config;
  std::string handover;                // config, encoded
  std::vector<std::string> arguments;  // of the new hpc-vmm
  std::vector<const char*> argv, envp;
};

/// Executes t.exec->request in place of this process.  Returns only on failure, the guest's errno.
int execute(Task& t);

}  // namespace hpcvmm::deputy
