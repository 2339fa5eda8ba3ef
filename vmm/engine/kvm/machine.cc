#include "vmm/engine/kvm/machine.hh"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "vmm/engine/kvm/api.hh"
#include "vmm/engine/kvm/vcpu.hh"
#include "vmm/mem/arena.hh"

extern "C" {
extern const char hpcvmm_stub_begin[];       // NOLINT: linker symbols of guest-agent/stub/stub.S
extern const char hpcvmm_stub_exceptions[];  // NOLINT
extern const char hpcvmm_stub_end[];         // NOLINT
}

namespace hpcvmm::engine::kvm {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kStep = 2 * kMiB;
constexpr std::uint64_t kSlotSizes[] = {1024 * kMiB, 64 * kMiB, 16 * kMiB};
constexpr std::size_t kManySlots = 512;  // from here on small slots are not worth their number

/// A 64-bit interrupt gate to `handler`.  Source: Intel SDM vol. 3, 6.14.1.
void write_gate(std::uint64_t* idt, unsigned vector, std::uint64_t handler, unsigned dpl) {
  const std::uint64_t type = 0x8e00 | (std::uint64_t{dpl} << 13);
  idt[std::size_t{vector} * 2] =
      (handler & 0xffff) | (std::uint64_t{kKernelCs} << 16) | (type << 32) | ((handler >> 16 & 0xffff) << 48);
  idt[std::size_t{vector} * 2 + 1] = handler >> 32;
}

}  // namespace

std::uint64_t host_vdso_address() { return kHostVdso; }

Result<std::unique_ptr<Engine>> make_kvm_engine(const KvmConfig& config) {
  auto engine = std::make_unique<KvmEngine>(config);
  HPCVMM_CHECK_OK(engine->start());
  return std::unique_ptr<Engine>(std::move(engine));
}

KvmEngine::~KvmEngine() {
  idle_.clear();
  config_.close_fd(vm_fd_);
}

Status KvmEngine::create_vm() {
  const auto make = [](void* self) {
    const int kvm = *static_cast<KvmEngine*>(self)->config_.kvm_fd;
    int fd = -1;
    do fd = ::ioctl(kvm, KVM_CREATE_VM, 0UL);
    while (fd < 0 && errno == EINTR);
    return fd;
  };
  if (!config_.make_fd(make, this, &vm_fd_)) return Error::last("KVM_CREATE_VM");
  give_apics();
  // Intel CPUs without unrestricted guest need three pages nobody else uses; harmless elsewhere.
  return call(vm_fd_, KVM_SET_TSS_ADDR, 0xfffbd000UL, "KVM_SET_TSS_ADDR");
}

// Nothing here ever gets an interrupt, yet vCPUs with a local APIC are cheaper: the first vCPU of the host
// that has none makes KVM patch its own code on all CPUs (static key kvm_has_noapic_vcpu), and the end of the
// last one patches it back: 0.17 ms each on the machine of README's table.  With an APIC, however, KVM would
// wait for the host's slow page faults in the background, and for ever where there is nothing (beyond the end
// of a file); it does not where HLT makes no exit.  HLT itself cannot be executed at ring 3.  A KVM without
// both does without.
void KvmEngine::give_apics() {
  const auto enable = [this](std::uint32_t cap, std::uint64_t arg) {
    kvm_enable_cap request{};
    request.cap = cap;
    request.args[0] = arg;
    return ::ioctl(vm_fd_, KVM_ENABLE_CAP, &request) == 0;
  };
  has_apic_ =
      enable(KVM_CAP_X86_DISABLE_EXITS, KVM_X86_DISABLE_EXITS_HLT) && enable(KVM_CAP_SPLIT_IRQCHIP, 0);
}

Status KvmEngine::add_slot(std::uint64_t gpa, std::uint64_t host, std::uint64_t bytes, std::uint32_t flags) {
  kvm_userspace_memory_region region{};
  region.slot = static_cast<std::uint32_t>(slots_.size());
  region.flags = flags;
  region.guest_phys_addr = gpa;
  region.memory_size = bytes;
  region.userspace_addr = host;
  HPCVMM_CHECK_OK(call(vm_fd_, KVM_SET_USER_MEMORY_REGION, &region, "KVM_SET_USER_MEMORY_REGION"));
  slots_.push_back({gpa, host, bytes, flags});
  return Unit{};
}

Status KvmEngine::start() {
  next_window_gpa_ = kWindowGpa;
  HPCVMM_CHECK_OK(create_vm());
  HPCVMM_TRY(const int bytes,
             call_fd(*config_.kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0UL, "KVM_GET_VCPU_MMAP_SIZE"));
  run_bytes_ = static_cast<std::uint32_t>(bytes);
  slots_.reserve(64);
  HPCVMM_CHECK_OK(tables_.start(
      [](void* self, std::uint64_t gpa, void* host, std::uint64_t chunk) {
        return static_cast<KvmEngine*>(self)->add_slot(gpa, reinterpret_cast<std::uint64_t>(host), chunk);
      },
      this));
  HPCVMM_CHECK_OK(build_system_pages());
  return map_host_vdso();
}

Status KvmEngine::build_system_pages() {
  const auto code_bytes = static_cast<std::size_t>(hpcvmm_stub_end - hpcvmm_stub_exceptions);
  HPCVMM_TRY(const PageTables::Page entry, tables_.take_page());
  HPCVMM_TRY(const PageTables::Page exceptions, tables_.take_page());
  HPCVMM_TRY(const PageTables::Page idt, tables_.take_page());
  std::memcpy(entry.host, hpcvmm_stub_begin, 64);
  std::memcpy(exceptions.host, hpcvmm_stub_exceptions, code_bytes);
  for (unsigned v = 0; v < 32; ++v) {
    // #BP and #OF are raised by instructions of ring 3 (int3, into).
    write_gate(idt.host, v, kStubExceptions + std::uint64_t{v} * 16, v == 3 || v == 4 ? 3 : 0);
  }
  write_gate(idt.host, 0x80, kStubExceptions + std::uint64_t{32} * 16, 3);
  HPCVMM_CHECK_OK(tables_.set_page(kStubCode, entry.gpa, kUser));
  HPCVMM_CHECK_OK(tables_.set_page(kStubExceptions, exceptions.gpa, 0));
  return tables_.set_page(kIdt, idt.gpa, kWritable | kNoExec);
}

// A slot for the host's [vvar] and [vdso] alone.
Status KvmEngine::map_host_vdso() {
  if (config_.host_vdso_bytes == 0 || config_.host_vdso_later) return Unit{};
  const std::uint64_t gpa = next_window_gpa_;
  next_window_gpa_ += kSlotSizes[2];
  HPCVMM_CHECK_OK(add_slot(gpa, config_.host_vdso, config_.host_vdso_bytes, KVM_MEM_READONLY));
  return tables_.set_run(kHostVdso, gpa, static_cast<unsigned>(config_.host_vdso_bytes / kPageSize), kUser);
}

// They lie beside the guest's own mappings, so as a rule a slot holds them already.  Neither their host
// mapping nor these entries allow a write.
void KvmEngine::places_reserved() {
  if (!config_.host_vdso_later) return;
  const std::uint64_t begin = config_.host_vdso;
  const std::uint64_t end = begin + config_.host_vdso_bytes;
  for (std::uint64_t at = begin; at < end; at += kPageSize) {
    const auto gpa = gpa_of(at, begin, end);
    // Without memory the guest's first look at a clock ends it, if nothing before it did.
    if (!gpa || !tables_.set_page(kHostVdso + (at - begin), *gpa, kUser)) return;
  }
}

Result<std::unique_ptr<Vcpu>> KvmEngine::make_vcpu() {
  if (!idle_.empty()) {
    std::unique_ptr<Vcpu> v = std::move(idle_.back());
    idle_.pop_back();
    static_cast<KvmVcpu&>(*v).reset();
    return v;
  }
  if (next_vcpu_ == kMaxVcpus) return Error::of(EAGAIN, "KVM_CREATE_VCPU: all vCPU ids of this VM are used");
  auto v = std::make_unique<KvmVcpu>(*this);
  HPCVMM_CHECK_OK(v->create(next_vcpu_));
  ++next_vcpu_;
  all_.push_back(v.get());
  return std::unique_ptr<Vcpu>(std::move(v));
}

void KvmEngine::recycle(std::unique_ptr<Vcpu> vcpu) { idle_.push_back(std::move(vcpu)); }

void KvmEngine::unmap(std::uint64_t begin, std::uint64_t end) { tables_.clear(begin, end); }

// What lies between the slots below and above `address`; empty if a slot holds it.
KvmEngine::Range KvmEngine::free_around(std::uint64_t address) const {
  Range free{0, kTaskSize64};
  const auto above = std::upper_bound(by_host_.begin(), by_host_.end(), address,
                                      [&](std::uint64_t at, std::uint32_t k) { return at < slots_[k].host; });
  if (above != by_host_.end()) free.end = slots_[*above].host;
  if (above != by_host_.begin()) {
    const Slot& below = slots_[*std::prev(above)];
    free.begin = below.host + below.bytes;
  }
  return free;
}

// `align`: guest-physical and host address are equal modulo this, for 2 MiB pages at least 2 MiB.
Status KvmEngine::add_window_slot(Range range, std::uint64_t align) {
  const std::uint64_t gpa = (next_window_gpa_ + align - 1) / align * align + range.begin % align;
  HPCVMM_CHECK_OK(add_slot(gpa, range.begin, range.end - range.begin));
  next_window_gpa_ = gpa + (range.end - range.begin);
  const auto after = std::lower_bound(by_host_.begin(), by_host_.end(), range.begin,
                                      [&](std::uint32_t k, std::uint64_t at) { return slots_[k].host < at; });
  by_host_.insert(after, static_cast<std::uint32_t>(slots_.size() - 1));
  return Unit{};
}

Result<std::uint64_t> KvmEngine::make_slot_for(std::uint64_t address, std::uint64_t begin,
                                               std::uint64_t end) {
  const Range free = free_around(address);
  for (const std::uint64_t size : kSlotSizes) {
    const bool smallest = size == kSlotSizes[2];
    // Large slots only for large mappings: their cost (rmap) is paid at creation, whatever is touched.
    if (!smallest && end - begin < size / 2 && slots_.size() < kManySlots) continue;
    Range range{address / size * size, std::min(address / size * size + size, kTaskSize64)};
    if (!smallest && (range.begin < free.begin || range.end > free.end)) continue;
    range = {std::max(range.begin, free.begin), std::min(range.end, free.end)};
    if (touches_zone(range.begin, range.end - range.begin)) continue;
    HPCVMM_CHECK_OK(add_window_slot(range, size));
    return slots_.back().gpa + (address - range.begin);
  }
  return Error::of(ENOMEM, "no room for a memory slot");
}

void KvmEngine::reserve(std::uint64_t begin, std::uint64_t end) {
  const std::uint64_t vdso = config_.host_vdso;
  if (config_.host_vdso_bytes != 0 && vdso >= begin && vdso < end + kSlotSizes[2])
    end = std::max(end, vdso + config_.host_vdso_bytes);
  const Range free = free_around(begin);
  const Range range{std::max(begin / kStep * kStep, free.begin),
                    std::min((end + kStep - 1) / kStep * kStep, std::min(free.end, kTaskSize64))};
  if (range.begin >= range.end || touches_zone(range.begin, range.end - range.begin)) return;
  // Without it each part gets a slot when it is touched.
  static_cast<void>(add_window_slot(range, kStep));
}

const KvmEngine::Slot* KvmEngine::find_slot(std::uint64_t address) const {
  const auto after = std::upper_bound(by_host_.begin(), by_host_.end(), address,
                                      [&](std::uint64_t at, std::uint32_t k) { return at < slots_[k].host; });
  if (after == by_host_.begin()) return nullptr;
  const Slot& s = slots_[*std::prev(after)];
  return address < s.host + s.bytes ? &s : nullptr;
}

Result<std::uint64_t> KvmEngine::gpa_of(std::uint64_t address, std::uint64_t begin, std::uint64_t end) {
  if (const Slot* s = find_slot(address)) return s->gpa + (address - s->host);
  return make_slot_for(address, begin, end);
}

void KvmEngine::prefill(std::uint64_t begin, std::uint64_t end, Prot prot) {
  constexpr std::uint64_t kMost = 2 * kStep;
  if (prot == 0 || end - begin > kMost) return;
  for (std::uint64_t at = begin; at < end; at = (at / kStep + 1) * kStep) {
    // A slot costs more than the fault it would save.
    if (find_slot(at) == nullptr) continue;
    if (!map_around(at, begin, end, prot)) return;
  }
}

Status KvmEngine::map_around(std::uint64_t address, std::uint64_t begin, std::uint64_t end, Prot prot) {
  const std::uint64_t step = address / kStep * kStep;
  const std::uint64_t first = std::max(step, begin);
  const std::uint64_t last = std::min(step + kStep, end);
  HPCVMM_TRY(const std::uint64_t gpa, gpa_of(first, begin, end));
  std::uint64_t bits = kUser;
  if ((prot & PROT_WRITE) != 0) bits |= kWritable;
  if ((prot & PROT_EXEC) == 0) bits |= kNoExec;
  if (last - first == kStep) return tables_.set_large(first, gpa, bits);
  return tables_.set_run(first, gpa, static_cast<unsigned>((last - first) / kPageSize), bits);
}

void KvmEngine::before_fork(Vcpu& self) { static_cast<KvmVcpu&>(self).save_fp(); }

Status KvmEngine::after_fork(Vcpu& self) {
  auto& kept = static_cast<KvmVcpu&>(self);
  // The inherited kvm_run mappings keep the parent's VM alive, so all of them go, at once.
  for (KvmVcpu* v : all_) v->abandon();
  all_.clear();
  for (auto& v : idle_)
    static_cast<void>(v.release());  // their descriptors are closed; the memory is the parent's copy
  idle_.clear();
  config_.close_fd(vm_fd_);
  vm_fd_ = -1;
  HPCVMM_CHECK_OK(create_vm());
  const std::vector<Slot> slots = std::move(slots_);
  slots_ = {};
  slots_.reserve(slots.size() + 16);
  for (const Slot& s : slots) HPCVMM_CHECK_OK(add_slot(s.gpa, s.host, s.bytes, s.flags));
  next_vcpu_ = kept.id() + 1;  // it keeps its own page of system memory, hence its id
  HPCVMM_CHECK_OK(kept.create(kept.id()));
  all_.push_back(&kept);
  kept.restore_fp();
  return Unit{};
}

}  // namespace hpcvmm::engine::kvm
