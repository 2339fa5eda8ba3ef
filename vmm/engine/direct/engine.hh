// The direct engine's Engine: keeps vCPUs and frames for reuse; there are no translations of its own to keep.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "vmm/engine/direct/vcpu.hh"
#include "vmm/engine/engine.hh"

namespace hpcvmm::engine::direct {

class DirectEngine final : public Engine {
 public:
  DirectEngine() = default;
  ~DirectEngine() override;

  [[nodiscard]] Kind kind() const override { return Kind::Direct; }
  Result<std::unique_ptr<Vcpu>> make_vcpu() override;
  void recycle(std::unique_ptr<Vcpu> vcpu) override;
  void unmap(std::uint64_t begin, std::uint64_t end) override;
  Status map_around(std::uint64_t address, std::uint64_t begin, std::uint64_t end, Prot prot) override;
  Status after_fork(Vcpu& self) override;

  /// A vCPU that is destroyed rather than recycled gives its frame back.
  void free_frame(GuestFrame& frame);

 private:
  void lock();
  void unlock() { busy_.clear(std::memory_order_release); }

  std::atomic_flag busy_ = ATOMIC_FLAG_INIT;  // not a mutex: a fork child must be able to break it open
  std::vector<std::unique_ptr<Vcpu>> idle_;
  std::vector<GuestFrame*> frames_;
};

}  // namespace hpcvmm::engine::direct
