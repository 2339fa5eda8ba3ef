// The debugger's seat in a deputy: one host thread that holds gdb's connection, and what guest threads tell
// it.
//
// A guest thread that meets an event (breakpoint, step, signal) claims it, which makes every thread hold, and
// parks before its next guest instruction.  The server brings those that run guest code to their park with a
// kick (real-time signal 64, told from a sent one by its value), leaves those inside a host call where they
// are, and then converses.
#pragma once

#include <atomic>
#include <csignal>
#include <cstdint>
#include <string>

#include "hpcvmm/base/result.hh"
#include "vmm/engine/engine.hh"

namespace hpcvmm::gdb {

inline constexpr int kKickSignal = 64;

/// A guest thread as the debugger sees it.  Its own host thread calls every function that takes it.
struct Thread {
  enum State : std::uint32_t {
    Running,  // in Vcpu::run(): a kick brings it out
    Busy,     // serving an exit that does not wait: parks by itself, soon
    InCall,   // in a host call for the guest, perhaps for long: its registers are known and stay
    Parked,
  };
  int tid = 0;
  engine::Vcpu* vcpu = nullptr;
  std::atomic<std::uint32_t> hold{0};  // 1: do not run guest code
  std::atomic<std::uint32_t> state{Busy};
  std::int64_t call_nr = -1;
  std::uint64_t entry_rip = 0;  // where the last run began
  siginfo_t info{};             // of the last stop
  int inject = 0;               // signal that gdb wants delivered
  bool approved = false;        // for the caller: the signal under way has been reported
  bool step = false;            // stop after one instruction
  bool trap_set = false;        // the trap flag in the registers is the stub's
  bool pushes_flags = false;    // the stepped instruction is PUSHF
  bool step_ends = false;  // a call or a handler's entry ended the step: stop before the next instruction ...
  std::uint64_t step_from = 0;  // ... unless the program is still here
};

struct Config {
  Abi abi = Abi::X64;
  std::uint16_t port = 0;  // of 127.0.0.1; 0: path
  std::string path;        // Unix socket
  bool hidden_traps =
      false;  // kvm: a run that is interrupted between an int3 and its exit may not tell of the int3
  std::string exe, auxv;
  int (*hide_fd)(int) = nullptr;          // puts a descriptor out of the guest's reach
  void (*track_fd)(int*) = nullptr;       // says where a hidden one's number is kept
  void* (*stack)(std::size_t) = nullptr;  // memory in the VMM's zone for the server's stack
};

/// Listens, waits for gdb, starts the server.  The first thread holds when this returns: its first run parks
/// it. Call once, on the only thread.  Errors: of socket(2), bind(2), accept4(2), /proc/self/mem,
/// pthread_create(3).
Status start(const Config& config, Thread& first);

/// A new guest thread, before its first run: it holds if its creator does (gdb may be letting one thread
/// alone step over a breakpoint).  And a thread that ends (waits while the program is stopped).
void add_thread(Thread& t, const Thread& creator);
void remove_thread(Thread& t);

/// Before Vcpu::run(): parks while the program is stopped.  False: do not run, `t.inject` is to be delivered
/// first.
bool before_run(Thread& t);
/// After it.  False: the exit was the debugger's, or is to be had again later; run anew.
bool after_run(Thread& t, const engine::Exit& exit);
/// A signal is about to reach the program.  Returns the signal to deliver, 0 none, -1 ask again after
/// before_run().
int report_signal(Thread& t, const siginfo_t& info);
/// Parks while the program is stopped.
void park(Thread& t);
/// A handler has been entered (the registers changed): a step ends at its first instruction.
void handler_entered(Thread& t);
/// The process is about to end: with `status`, or by `signo` if not 0.  Returns when gdb has been told.
void report_end(Thread& t, int status, int signo);

/// Around fork(2), outermost of all locks.  In the child the breakpoints are taken out and the debugger is
/// gone.
void before_fork();
void after_fork(bool child);
/// For the time of a vfork the shared memory is without breakpoints, for all threads.
void lift_breakpoints();
void put_back_breakpoints();

/// True for a kick.  Async-signal-safe.
bool is_kick(int signo, const siginfo_t& info);

}  // namespace hpcvmm::gdb
