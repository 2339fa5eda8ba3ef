// Signals: from the host kernel's delivery to the guest's handler.
//
// The host thread's signal mask is the guest's.  The kernel therefore queues, merges, orders and restarts
// exactly as for a native program.  A signal with a guest handler interrupts the host thread; the deputy's
// handler records it and leaves with everything blocked, so at most one is under way per thread; the loop
// then builds the guest's frame and puts the handler's mask in place, which lets the next one come.
#pragma once

#include <csignal>
#include <cstdint>

#include "vmm/deputy/task.hh"

namespace hpcvmm::deputy {

constexpr std::uint64_t bit(int signo) { return std::uint64_t{1} << (signo - 1); }
/// Never blocked on the host.
constexpr std::uint64_t kForcedSignals =
    bit(SIGSEGV) | bit(SIGBUS) | bit(SIGFPE) | bit(SIGILL) | bit(SIGTRAP) | bit(SIGSYS);

/// The deputy's handler for every signal it must see; the engine may put its own entry in front (direct).
using HostHandler = void (*)(int, siginfo_t*, void*);
void on_host_signal(int signo, siginfo_t* info, void* context);
/// How handlers get installed; the direct engine replaces it.
using Installer = void (*)(int signo, unsigned long sa_flags, HostHandler);
void set_installer(Installer installer);

/// At start: reads which signals the program inherits as ignored, installs what the VMM itself needs.
void start_signals(SignalTable& table);

/// Has every signal whose default ends or stops the process come to the deputy, for a debugger to hear of it.
void watch_signals(SignalTable& table);

/// Sets the guest's action and the host's to match.  Returns 0 or an errno.  `old` may be nullptr.
int set_action(SignalTable& table, int signo, const SigAction* action, SigAction* old);

/// Puts the host's handler for `signo` back as the table has it: libc's pthread_create installs one of its
/// own for signal 33 the first time.
void reinstall(SignalTable& table, int signo);

/// The guest's mask of this thread.
std::uint64_t guest_mask(Task& t);
/// Puts a guest mask in place (SIGKILL and SIGSTOP are dropped by the kernel).  A signal may be recorded at
/// once.
void set_guest_mask(Task& t, std::uint64_t mask);
/// Blocks everything; returns false when a signal was recorded before (deliver it first), else the guest's
/// mask.
bool block_all(Task& t, std::uint64_t& guest_mask);

/// Delivers the recorded signal: builds the frame, or acts by default, or drops it.
void deliver_recorded(Task& t);
/// A fault of the guest's own making, delivered at once.  Ends the process if it is blocked, ignored or
/// default.
void force_signal(Task& t, const siginfo_t& info);
/// Ends the process as Linux would for this signal, with a core file of the guest where its limits ask for
/// one.
[[noreturn]] void die_by_signal(Task& t, const siginfo_t& info);

}  // namespace hpcvmm::deputy
