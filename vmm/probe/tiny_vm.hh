// A throw-away micro-VM with one vCPU: a few instructions at CPL 3 over the smallest stub that catches what
// they do. For measurements only; it lives in a child process that ends with the measurement, and shares
// nothing with the engine, so that a fault of the engine cannot hide in the figures it is compared with.
#pragma once

#include <cstdint>

#include "hpcvmm/base/result.hh"
#include "hpcvmm/base/unique_fd.hh"
#include "vmm/probe/kvm_header.hh"

namespace hpcvmm::probe {

class TinyVm {
 public:
  enum class Mode : std::uint8_t { Long, Compat };

  // Guest-physical = guest-linear addresses.
  static constexpr std::uint64_t kCode = 0x10000;
  static constexpr std::uint64_t kTouch4K = 4ULL << 20;
  static constexpr std::uint64_t kTouchHuge = 8ULL << 20;
  static constexpr std::uint64_t kBytes = 16ULL << 20;

  // Ports the guest side reports through.
  static constexpr int kPortUser = 0x80;       // `out` of the probed code itself, or LSTAR
  static constexpr int kPortException = 0x81;  // some exception: see vector()
  static constexpr int kPortInt80 = 0x82;      // int $0x80 through its gate
  static constexpr int kPortUndefined = 0x83;  // #UD
  static constexpr int kOtherExit = -1;        // shutdown, emulation failure, EFAULT ...

  /// Builds everything.  Errors: of /dev/kvm and of each ioctl.
  Status create();
  /// Puts `bytes` of code at kCode.
  void load(const std::uint8_t* code, std::size_t bytes);
  /// Registers for a start at kCode at CPL 3.
  Status start(Mode mode, std::uint64_t count, std::uint64_t rdi = 0, std::uint64_t rsi = 0);
  /// Runs to the next `out`.  Returns the port, or kOtherExit (reason in exit_reason()).
  int run();

  [[nodiscard]] std::uint32_t exit_reason() const { return run_->exit_reason; }
  [[nodiscard]] const UniqueFd& device() const { return device_; }
  [[nodiscard]] const UniqueFd& vcpu() const { return vcpu_; }
  [[nodiscard]] std::uint8_t* memory() const { return memory_; }
  /// Current privilege level of the vCPU.  -1 when it cannot be read.
  [[nodiscard]] int cpl() const;
  /// After kPortUser from LSTAR: sends the guest back behind its `syscall`.  `at_cpl3`: see kvm_probe.cc.
  Status leave_syscall(bool at_cpl3);
  /// After kPortUndefined: true and stepped over if the instruction was int $0x80.
  bool skip_undefined_int80();

 private:
  void write_tables();
  Status make_vcpu();

  UniqueFd device_, vm_, vcpu_;
  std::uint8_t* memory_ = nullptr;
  kvm_run* run_ = nullptr;
  bool sync_regs_ = false;  // registers travel in kvm_run
  kvm_sregs reset_sregs_{};
};

}  // namespace hpcvmm::probe
