// The deputy's picture of guest tasks: what a thread owns, and what threads share.
#pragma once

#include <csignal>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "hpcvmm/base/cpu.hh"
#include "hpcvmm/wire/view.hh"
#include "vmm/engine/engine.hh"
#include "vmm/gdb/server.hh"
#include "vmm/mem/lock.hh"
#include "vmm/mem/mm.hh"
#include "vmm/migrate/used.hh"
#include "vmm/sys/sigframe.hh"

namespace hpcvmm::deputy {

/// A guest's sigaction, as both ABIs can express it.
struct SigAction {
  std::uint64_t handler = 0;  // SIG_DFL 0, SIG_IGN 1
  std::uint64_t flags = 0;
  std::uint64_t restorer = 0;
  std::uint64_t mask = 0;
  Abi abi = Abi::X64;  // of the sigaction call: it decides the kind of frame
};

/// Shared by the threads of a process (CLONE_SIGHAND); a vfork child has its own.
struct SignalTable {
  mem::Lock lock;
  SigAction actions[65];
};

/// What `launch` was asked for; travels through every fork and exec of the tree.
struct Options {
  enum class Choice : std::uint8_t { Auto, Kvm, Direct };
  Choice engine = Choice::Auto;
  bool verbose = false;
  int trace_fd = -1;    // -1: no trace
  int summary_fd = -1;  // -1: no JSON summary at the end
  std::uint16_t gdb_port = 0;
  std::string gdb_path;
  std::uint32_t cpus = 0;  // 0: no limit
  int cluster_fd = -1;     // the socket of its home node's hpcd (O_PATH); -1: no cluster
  std::uint32_t node = 0;  // the node it shall run on; 0: at home
  int accounts_fd = -1;    // the tree's times used away (accounts.hh), for an exec; -1: none
  int view_fd = -1;        // run_dir/view of that hpcd (O_PATH); -1: the guest sees the host
  // What this host's engines can do (probe::EngineFacts), found out once for the whole tree.
  bool facts_known = false;
  std::uint8_t kvm_run[2] = {};  // probe::CodeRun by Abi
  bool direct_run[2] = {};
  Abi chosen_for = Abi::X64;  // of the launched program: what `engine` was asked for
};

struct Counters {
  std::uint64_t syscalls = 0, exits = 0, faults = 0, signals = 0;
};

/// Shared by the threads of one process.
struct Process {
  std::shared_ptr<mem::Mm> mm;
  std::shared_ptr<SignalTable> signals;
  Options options;
  engine::Kind engine_kind = engine::Kind::Kvm;
  Abi abi = Abi::X64;      // of the program that was executed
  std::string exe;         // absolute path of the program, for /proc/self/exe
  std::uint64_t vdso = 0;  // address of our vDSO image in the window
  std::uint64_t vdso_sigreturn = 0, vdso_rt_sigreturn = 0;  // IA32
  std::uint64_t stack_top = 0;
  /// RLIMIT_NOFILE's hard limit as the guest set it.  The host's stays as it was, so that the VMM can still
  /// open a descriptor for a moment (FdRoom); ~0: the host's.
  std::uint64_t nofile_hard = ~std::uint64_t{0};
  bool read_implies_exec = false;                // personality bit of programs without PT_GNU_STACK
  std::shared_ptr<struct SeccompState> seccomp;  // nullptr: no filter
  mem::Lock lock;                                // protects what follows
  std::vector<struct Task*> tasks;
  Counters ended;                    // of threads that have exited
  wire::view::CpuSet told_affinity;  // what hpcd knows of its threads' affinities; empty: all CPUs
};

/// What set_robust_list(2) was told; head 0: nothing.
struct RobustList {
  std::uint64_t head = 0;
  Abi abi = Abi::X64;
};

/// One guest thread: its host thread, its vCPU, its signal state.
struct Task {
  std::shared_ptr<Process> process;
  std::unique_ptr<engine::Vcpu> owned_vcpu;
  engine::Vcpu* vcpu = nullptr;  // owned_vcpu, or the suspended parent's in a vfork child
  int tid = 0;
  bool vfork_child = false;
  bool ended = false;  // exit(2) has run: the loop returns
  // What the kernel writes in guest memory when this thread ends (exit_words.hh).
  std::uint64_t clear_tid = 0;  // 0: nothing
  RobustList robust;

  // Written by the host signal handler on this thread, read by it later: one signal, everything else blocked
  // until it has reached the guest.
  volatile int signal_recorded = 0;
  siginfo_t recorded_info{};
  std::uint64_t recorded_mask = 0;  // the guest's mask when it came
  /// SIGSEGV, SIGBUS ... are never blocked on the host (a fault in copy_in would then kill): the guest's wish
  /// is here.
  std::uint64_t forced_blocked = 0;
  std::uint64_t held_forced = 0;  // such signals, sent by kill(2) while blocked
  siginfo_t held_info[8]{};
  /// Mask that sigsuspend/ppoll/... put in place for the time of the call: the handler runs with it.
  bool has_call_mask = false;
  std::uint64_t call_mask = 0;

  sys::AltStack altstack;
  /// CPUs of the cluster that sched_setaffinity has bound it to; nullptr: all.  Under the process's lock.
  std::unique_ptr<wire::view::CpuSet> affinity;
  std::uint64_t last_trap = 0, last_error = 0, last_cr2 = 0;
  std::uint64_t host_faults = 0;  // without progress, at the same rip
  std::uint64_t host_fault_rip = 0;
  Counters count;
  // CPU time away (accounts.hh): of the programs before, and what others have used on this vCPU.
  migrate::CpuTime used_before_exec, used_before;
  std::unique_ptr<gdb::Thread> debug;     // nullptr: not debugged
  void* stack = nullptr;                  // this thread's VMM stack, for reuse after it has ended
  std::shared_ptr<struct ExecPlan> exec;  // while an execve is under way
};

/// The task of the calling host thread.  A vfork child replaces its parent's for the time being.
Task& self();
Task* find_self();  // nullptr before the first task runs
void set_self(Task* t);

}  // namespace hpcvmm::deputy
