// The kvm engine: one VM per address space, one vCPU per guest thread, guest page tables that follow the
// VMAs.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "vmm/engine/engine.hh"
#include "vmm/engine/kvm/page_tables.hh"

namespace hpcvmm::engine::kvm {

struct KvmConfig {
  const int* kvm_fd = nullptr;  ///< holds /dev/kvm's descriptor; the owner may move it
  /// Creates a descriptor with `make`, even where the guest has used up its numbers, and moves it out of
  /// them; stores it in `owner`.  False with errno on failure.
  bool (*make_fd)(int (*make)(void* arg), void* arg, int* owner) = nullptr;
  void (*close_fd)(int fd) = nullptr;
  /// Reads guest memory without crashing on a bad address.
  bool (*copy_in)(void* to, std::uint64_t guest, std::size_t bytes) = nullptr;
  /// The host's [vvar]+[vdso], to be mapped at kHostVdso; 0 bytes: none.
  std::uint64_t host_vdso = 0;
  std::uint64_t host_vdso_bytes = 0;
  /// It is mapped only in places_reserved(), where as a rule it needs no slot of its own.
  bool host_vdso_later = false;
};

/// What KVM offers this process's guests in CPUID, as bytes: asking takes 0.5 ms, so a program executed by a
/// guest gets its parent's.  Empty before the first vCPU.
std::string cpuid_bytes();
/// Takes such bytes; what is too short for the number of leaves it names is ignored.
void set_cpuid_bytes(const std::string& bytes);

/// Where the host's vDSO appears to guests of this engine.
std::uint64_t host_vdso_address();

class KvmVcpu;

/// Creates the VM.  Errors: what KVM_CREATE_VM gives; ENOMEM.
Result<std::unique_ptr<Engine>> make_kvm_engine(const KvmConfig& config);

class KvmEngine final : public Engine {
 public:
  explicit KvmEngine(const KvmConfig& config) : config_(config) {}
  KvmEngine(const KvmEngine&) = delete;
  KvmEngine& operator=(const KvmEngine&) = delete;
  ~KvmEngine() override;

  [[nodiscard]] Kind kind() const override { return Kind::Kvm; }
  Result<std::unique_ptr<Vcpu>> make_vcpu() override;
  void recycle(std::unique_ptr<Vcpu> vcpu) override;
  void unmap(std::uint64_t begin, std::uint64_t end) override;
  Status map_around(std::uint64_t address, std::uint64_t begin, std::uint64_t end, Prot prot) override;
  void prefill(std::uint64_t begin, std::uint64_t end, Prot prot) override;
  void reserve(std::uint64_t begin, std::uint64_t end) override;
  void places_reserved() override;
  void before_fork(Vcpu& self) override;
  Status after_fork(Vcpu& self) override;

  Status start();

 private:
  friend class KvmVcpu;
  struct Slot {
    std::uint64_t gpa, host, bytes;
    std::uint32_t flags;
  };
  Status create_vm();
  void give_apics();
  Status add_slot(std::uint64_t gpa, std::uint64_t host, std::uint64_t bytes, std::uint32_t flags = 0);
  Status build_system_pages();
  Status map_host_vdso();
  Result<std::uint64_t> gpa_of(std::uint64_t address, std::uint64_t begin, std::uint64_t end);
  [[nodiscard]] const Slot* find_slot(std::uint64_t address) const;
  struct Range {
    std::uint64_t begin, end;
  };
  [[nodiscard]] Range free_around(std::uint64_t address) const;
  Status add_window_slot(Range range, std::uint64_t align);
  Result<std::uint64_t> make_slot_for(std::uint64_t address, std::uint64_t begin, std::uint64_t end);

  KvmConfig config_;
  int vm_fd_ = -1;
  bool has_apic_ = false;
  std::uint32_t run_bytes_ = 0;
  PageTables tables_;
  std::vector<Slot> slots_;             // in the order of their numbers; never deleted or moved
  std::vector<std::uint32_t> by_host_;  // window slots sorted by host address
  std::uint64_t next_window_gpa_ = 0;
  unsigned next_vcpu_ = 0;
  std::vector<std::unique_ptr<Vcpu>> idle_;
  std::vector<KvmVcpu*> all_;
};

}  // namespace hpcvmm::engine::kvm
