// Engine: runs one guest thread's registers until a system call, a fault or a kick.  Two kinds: kvm and
// direct.
#pragma once

#include <csignal>
#include <cstdint>
#include <memory>

#include "hpcvmm/base/cpu.hh"
#include "hpcvmm/base/result.hh"

namespace hpcvmm::engine {

enum class Kind : std::uint8_t { Kvm, Direct };

enum class ExitKind : std::uint8_t {
  Syscall64,  // regs: rax = number, rdi.. = arguments, rip behind the instruction, rcx/r11 as the CPU left
              // them
  Syscall32,  // int $0x80: eax, ebx, ecx, edx, esi, edi, ebp; rip behind the instruction
  Exception,  // vector, error_code, fault_address; rip at the instruction (behind it for #BP/#DB traps)
  HostFault,  // the host could not back a page the guest may touch (beyond EOF); no address known (kvm only)
  Interrupted,  // a signal or request_stop(): registers are clean, nothing happened
  Broken,       // the vCPU cannot go on; `detail` says why: end this process, not the node
};

struct Exit {
  ExitKind kind = ExitKind::Interrupted;
  std::uint8_t vector = 0;
  std::uint32_t error_code = 0;
  std::uint64_t fault_address = 0;
  /// direct: the signal the host raised for the exception, already with si_code and si_addr; si_signo 0
  /// otherwise.
  siginfo_t host_info{};
  const char* detail = "";
};

/// Protection of a guest mapping, in PROT_* bits of mmap(2).
using Prot = std::uint32_t;

/// One guest thread's processor.  Threads: used by one host thread at a time, except request_stop().
class Vcpu {
 public:
  Vcpu() = default;
  Vcpu(const Vcpu&) = delete;
  Vcpu& operator=(const Vcpu&) = delete;
  virtual ~Vcpu() = default;

  /// Registers while the guest is stopped.  Write freely; the next run() starts from them.
  virtual GuestRegs& regs() = 0;
  /// Runs guest code until an exit.  Before it returns, the state is settled: never inside the stub, no
  /// exception half delivered.
  virtual Exit run() = 0;
  /// Makes a current or the next run() return Interrupted.  Async-signal-safe; called from signal handlers
  /// that run on this vCPU's own thread, and sticky until run() has returned once.
  virtual void request_stop() = 0;
  /// Copies the FP state out / in (standard XSAVE layout).  Only while stopped.
  virtual void get_fp(FpState& out) = 0;
  virtual void set_fp(const FpState& in) = 0;
  /// Sets GDT entry kTlsFirst + index (8-byte descriptor) for this thread.  index < kTlsCount.
  virtual void set_tls(unsigned index, std::uint64_t descriptor) = 0;
  [[nodiscard]] virtual std::uint64_t get_tls(unsigned index) const = 0;
};

/// One address space's machine (a VM for kvm).  Threads: all functions under the owner's mm lock, except
/// make_vcpu.
class Engine {
 public:
  Engine() = default;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  virtual ~Engine() = default;

  [[nodiscard]] virtual Kind kind() const = 0;
  /// A processor with all state at reset values of a fresh Linux process (FP init state, no TLS).
  /// Errors: EAGAIN no more vCPUs; whatever KVM_CREATE_VCPU gives.
  virtual Result<std::unique_ptr<Vcpu>> make_vcpu() = 0;
  /// Takes a processor back for reuse (KVM never frees vCPU ids: MAX_VCPUS creations per VM).
  virtual void recycle(std::unique_ptr<Vcpu> vcpu) = 0;

  /// Forgets all translations in [begin, end).  To be called *before* the host call that takes rights away.
  virtual void unmap(std::uint64_t begin, std::uint64_t end) = 0;
  /// The guest touched `address`, which lies in a mapping [begin, end) that allows it: make translations.
  /// Returns ENOMEM when no memory slot or table can be had.  direct: nothing to do.
  virtual Status map_around(std::uint64_t address, std::uint64_t begin, std::uint64_t end, Prot prot) = 0;

  /// Makes translations for all of [begin, end) where that is cheap, because the guest is about to touch it:
  /// a #PF through the stub costs 50 us on a PVM host, 512 entries cost 1.  A hint; direct: nothing to do.
  virtual void prefill(std::uint64_t begin, std::uint64_t end, Prot prot) {
    static_cast<void>(begin);
    static_cast<void>(end);
    static_cast<void>(prot);
  }

  /// [begin, end) holds mappings of a new program that lie close together, and the room where they will grow:
  /// what the engine keeps per range of memory should be one thing for all of it (a memory slot costs 45 us,
  /// whatever its size up to 64 MiB).  A hint; direct: nothing to do.
  virtual void reserve(std::uint64_t begin, std::uint64_t end) {
    static_cast<void>(begin);
    static_cast<void>(end);
  }
  /// All of a new program's places are reserved: the pages of the engine's own that guests may read can be
  /// mapped.
  virtual void places_reserved() {}

  /// In the parent before fork(2), on the forking thread: saves what cannot be read in the child.
  virtual void before_fork(Vcpu& self) { static_cast<void>(self); }
  /// In the child after fork(2): drop the parent's VM and make one of our own, with `self` as its only vCPU.
  /// `self` keeps registers, FP state and TLS.
  virtual Status after_fork(Vcpu& self) = 0;
};

}  // namespace hpcvmm::engine
