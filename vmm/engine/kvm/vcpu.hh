// One vCPU: KVM_RUN, decoding of exits, settling.
#pragma once

#include <array>
#include <cstdint>

#include "vmm/engine/engine.hh"
#include "vmm/engine/kvm/api.hh"

namespace hpcvmm::engine::kvm {

class KvmEngine;

class KvmVcpu final : public Vcpu {
 public:
  explicit KvmVcpu(KvmEngine& engine) : engine_(engine) {}
  KvmVcpu(const KvmVcpu&) = delete;
  KvmVcpu& operator=(const KvmVcpu&) = delete;
  ~KvmVcpu() override;

  /// Creates vCPU `id` in the engine's VM.  Errors: of the KVM ioctls.
  Status create(unsigned id);
  /// Registers, FP and TLS state of a fresh thread.
  void reset();
  [[nodiscard]] unsigned id() const { return id_; }

  GuestRegs& regs() override { return regs_; }
  Exit run() override;
  void request_stop() override;
  void get_fp(FpState& out) override;
  void set_fp(const FpState& in) override;
  void set_tls(unsigned index, std::uint64_t descriptor) override;
  [[nodiscard]] std::uint64_t get_tls(unsigned index) const override;

  /// fork: the FP state crosses into the child's VM.  A child may not touch its parent's vCPU (another mm),
  /// so it is read before.  Registers are in regs() anyway, TLS in the system page.
  void save_fp() { get_fp(forked_fp_); }
  void restore_fp() { set_fp(forked_fp_); }
  /// In a fork child: forgets the parent's vCPU without touching it.
  void abandon();

 private:
  Status setup_registers();
  Status setup_msrs();
  void write_back();
  void read_back();
  kvm_segment data_segment(std::uint16_t selector, std::uint64_t base) const;
  Exit decode_io();
  bool in_transit() const;

  KvmEngine& engine_;
  unsigned id_ = 0;
  int fd_ = -1;
  kvm_run* run_ = nullptr;
  std::uint64_t page_va_ = 0;  // this vCPU's system page: guest address and host pointer
  char* page_ = nullptr;
  GuestRegs regs_{};
  GuestRegs loaded_{};  // what the vCPU holds, to see which segments changed
  FpState forked_fp_;
  bool at_user_ = false;  // the vCPU is at CPL 3 with user segments loaded
  bool fresh_ = true;     // nothing loaded yet
};

}  // namespace hpcvmm::engine::kvm
