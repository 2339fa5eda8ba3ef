// One guest thread's state and the way in and out of it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "vmm/engine/direct/kernel_frame.hh"
#include "vmm/engine/direct/thread.hh"
#include "vmm/engine/engine.hh"

namespace hpcvmm::engine::direct {

class DirectEngine;

class DirectVcpu final : public Vcpu {
 public:
  /// `frame` is arena memory, given back to `engine` on destruction.
  DirectVcpu(DirectEngine& engine, GuestFrame& frame);
  ~DirectVcpu() override;

  GuestRegs& regs() override { return regs_; }
  Exit run() override;
  void request_stop() override { stop_ = 1; }
  void get_fp(FpState& out) override;
  void set_fp(const FpState& in) override;
  void set_tls(unsigned index, std::uint64_t descriptor) override;
  [[nodiscard]] std::uint64_t get_tls(unsigned index) const override;

  /// Back to the state of a fresh Linux process.
  void reset();

  // For the signal path only: FS is the VMM's, the alternate stack is in use.
  /// Copies the interrupted guest's registers and FP state out of the kernel's frame.
  void save(const ThreadBlock& block, const KernelUcontext& uc);
  void on_syscall(std::uint32_t audit_arch);
  void on_exception(const siginfo_t& info, const KernelUcontext& uc);
  /// A SIGSYS that was sent struck at `uc`: AUDIT_ARCH_* if the guest had just made a system call that nobody
  /// has executed, else 0.
  [[nodiscard]] std::uint32_t swallowed_call(const KernelUcontext& uc) const;
  void on_interrupted() { exit_.kind = ExitKind::Interrupted; }
  void on_broken(const char* why);

 private:
  bool apply_tls(ThreadBlock& block);
  void load(ThreadBlock& block);
  bool release_held(ThreadBlock& block);

  DirectEngine& engine_;
  GuestFrame& frame_;
  GuestRegs regs_{};
  Exit exit_{};
  std::array<std::uint64_t, kTlsCount> tls_{};
  volatile std::uint32_t stop_ = 0;  // written by handlers on this vCPU's own thread
};

}  // namespace hpcvmm::engine::direct
