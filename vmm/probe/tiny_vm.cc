#include "vmm/probe/tiny_vm.hh"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <cstring>

#include "hpcvmm/base/cpu.hh"

namespace hpcvmm::probe {
namespace {

constexpr std::uint64_t kPml4 = 0x1000;
constexpr std::uint64_t kPdpt = 0x2000;
constexpr std::uint64_t kPd = 0x3000;
constexpr std::uint64_t kGdt = 0x5000;
constexpr std::uint64_t kTss = 0x6000;  // three pages: an I/O bitmap for all ports
constexpr std::uint64_t kTssLimit = 0x68 + 8192;
constexpr std::uint64_t kIdt = 0x9000;
constexpr std::uint64_t kHandlers = 0xa000;  // 16 bytes a vector
constexpr std::uint64_t kLstar = 0xb000;
constexpr std::uint64_t kStubStackTop = 0xe000;
constexpr std::uint64_t kUserStackTop = 0x20000;
constexpr std::uint16_t kStubCs = 0x10;
constexpr std::uint16_t kTssSelector = 0x40;
constexpr std::uint64_t kHuge = 2ULL << 20;

void put64(std::uint8_t* memory, std::uint64_t at, std::uint64_t value) {
  std::memcpy(memory + at, &value, sizeof(value));
}

kvm_segment segment(std::uint16_t selector, std::uint8_t type, bool code64, bool code) {
  kvm_segment s{};
  s.limit = 0xffff'ffff;
  s.selector = selector;
  s.type = type;
  s.present = s.s = s.g = 1;
  s.dpl = selector & 3;
  s.l = code && code64 ? 1 : 0;
  s.db = code && code64 ? 0 : 1;
  return s;
}

}  // namespace

void TinyVm::write_tables() {
  put64(memory_, kPml4, kPdpt | 7);
  put64(memory_, kPdpt, kPd | 7);
  for (std::uint64_t i = 0; i < kBytes / kHuge; ++i) put64(memory_, kPd + i * 8, (i * kHuge) | 0xe7);

  put64(memory_, kGdt + 0x10, 0x00af'9b00'0000'ffff);  // stub code
  put64(memory_, kGdt + 0x18, 0x00cf'9300'0000'ffff);  // stub data
  put64(memory_, kGdt + 0x20, 0x00cf'fb00'0000'ffff);  // kUserCs32
  put64(memory_, kGdt + 0x28, 0x00cf'f300'0000'ffff);  // kUserDs
  put64(memory_, kGdt + 0x30, 0x00af'fb00'0000'ffff);  // kUserCs64
  put64(memory_, kGdt + kTssSelector, (kTssLimit & 0xffff) | (kTss << 16) | (0x8bULL << 40));

  put64(memory_, kTss + 4, kStubStackTop);  // RSP0
  const std::uint16_t bitmap_at = 0x68;     // the bitmap itself stays 0: every port is allowed at CPL 3
  std::memcpy(memory_ + kTss + 0x66, &bitmap_at, sizeof(bitmap_at));

  for (std::uint64_t vector = 0; vector < 256; ++vector) {
    const std::uint64_t at = kHandlers + vector * 16;
    std::uint8_t code[] = {0xe6, kPortException, 0x48, 0xcf};  // out; iretq
    if (vector == 0x80) code[1] = kPortInt80;
    if (vector == 6) code[1] = kPortUndefined;
    std::memcpy(memory_ + at, code, sizeof(code));
    const std::uint64_t type = vector == 0x80 ? 0xee : 0x8e;
    put64(memory_, kIdt + vector * 16, (at & 0xffff) | (std::uint64_t{kStubCs} << 16) | (type << 40));
  }
  const std::uint8_t lstar[] = {0xe6, kPortUser, 0x48, 0x0f, 0x07};  // out; sysretq
  std::memcpy(memory_ + kLstar, lstar, sizeof(lstar));
}

Status TinyVm::make_vcpu() {
  vcpu_ = UniqueFd(::ioctl(vm_.get(), KVM_CREATE_VCPU, 0));
  if (!vcpu_) return Error::last("KVM_CREATE_VCPU");
  const int run_bytes = ::ioctl(device_.get(), KVM_GET_VCPU_MMAP_SIZE, 0);
  if (run_bytes < 0) return Error::last("KVM_GET_VCPU_MMAP_SIZE");
  void* const run = ::mmap(nullptr, static_cast<std::size_t>(run_bytes), PROT_READ | PROT_WRITE, MAP_SHARED,
                           vcpu_.get(), 0);
  if (run == MAP_FAILED) return Error::last("mmap kvm_run");
  run_ = static_cast<kvm_run*>(run);
  sync_regs_ = (::ioctl(device_.get(), KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS) & KVM_SYNC_X86_REGS) != 0;
  if (sync_regs_) run_->kvm_valid_regs = KVM_SYNC_X86_REGS;
  CpuidBuffer cpuid{};
  cpuid.head.nent = 256;
  // Without CPUID a VT-x host refuses the long-mode bits of EFER.
  if (::ioctl(device_.get(), KVM_GET_SUPPORTED_CPUID, &cpuid) < 0)
    return Error::last("KVM_GET_SUPPORTED_CPUID");
  if (::ioctl(vcpu_.get(), KVM_SET_CPUID2, &cpuid) < 0) return Error::last("KVM_SET_CPUID2");
  if (::ioctl(vcpu_.get(), KVM_GET_SREGS, &reset_sregs_) < 0) return Error::last("KVM_GET_SREGS");
  return Unit{};
}

Status TinyVm::create() {
  device_ = UniqueFd(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
  if (!device_) return Error::last("open /dev/kvm");
  vm_ = UniqueFd(::ioctl(device_.get(), KVM_CREATE_VM, 0));
  if (!vm_) return Error::last("KVM_CREATE_VM");
  // Intel without "unrestricted guest" needs three pages of its own; the others ignore the call.
  ::ioctl(vm_.get(), KVM_SET_TSS_ADDR, 0xfffb'd000UL);
  void* const raw = ::mmap(nullptr, kBytes + kHuge, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) return Error::last("mmap guest memory");
  memory_ =
      reinterpret_cast<std::uint8_t*>((reinterpret_cast<std::uint64_t>(raw) + kHuge - 1) & ~(kHuge - 1));
  ::madvise(memory_, kTouchHuge, MADV_NOHUGEPAGE);
  ::madvise(memory_ + kTouchHuge, kBytes - kTouchHuge, MADV_HUGEPAGE);
  kvm_userspace_memory_region region{};
  region.memory_size = kBytes;
  region.userspace_addr = reinterpret_cast<std::uint64_t>(memory_);
  if (::ioctl(vm_.get(), KVM_SET_USER_MEMORY_REGION, &region) < 0)
    return Error::last("KVM_SET_USER_MEMORY_REGION");
  write_tables();
  return make_vcpu();
}

void TinyVm::load(const std::uint8_t* code, std::size_t bytes) { std::memcpy(memory_ + kCode, code, bytes); }

Status TinyVm::start(Mode mode, std::uint64_t count, std::uint64_t rdi, std::uint64_t rsi) {
  const bool wide = mode == Mode::Long;
  kvm_sregs s = reset_sregs_;
  s.cs = segment(wide ? kUserCs64 : kUserCs32, 11, wide, true);
  s.ss = s.ds = s.es = s.fs = s.gs = segment(kUserDs, 3, wide, false);
  s.tr = kvm_segment{};
  s.tr.base = kTss;
  s.tr.limit = static_cast<std::uint32_t>(kTssLimit);
  s.tr.selector = kTssSelector;
  s.tr.type = 11;
  s.tr.present = 1;
  s.gdt.base = kGdt;
  s.gdt.limit = 0x4f;
  s.idt.base = kIdt;
  s.idt.limit = 0xfff;
  s.cr0 = 0x8005'0033;
  s.cr3 = kPml4;
  s.cr4 = 0x620;  // PAE, OSFXSR, OSXMMEXCPT
  s.efer = 0xd01;
  if (::ioctl(vcpu_.get(), KVM_SET_SREGS, &s) < 0) return Error::last("KVM_SET_SREGS");
  MsrBuffer msrs{};
  msrs.head.nmsrs = 3;
  msrs.entries[0] = {0xc000'0081, 0, (std::uint64_t{kStubCs} << 32) | (0x23ULL << 48)};  // STAR
  msrs.entries[1] = {0xc000'0082, 0, kLstar};
  msrs.entries[2] = {0xc000'0084, 0, 0x47700};  // SFMASK as Linux sets it
  if (::ioctl(vcpu_.get(), KVM_SET_MSRS, &msrs) != 3) return Error::last("KVM_SET_MSRS");
  kvm_regs r{};
  r.rip = kCode;
  r.rsp = kUserStackTop;
  r.rflags = 0x202;
  r.rcx = count;
  r.rdi = rdi;
  r.rsi = rsi;
  if (::ioctl(vcpu_.get(), KVM_SET_REGS, &r) < 0) return Error::last("KVM_SET_REGS");
  return Unit{};
}

int TinyVm::run() {
  while (::ioctl(vcpu_.get(), KVM_RUN, 0) < 0) {
    if (errno != EINTR) return kOtherExit;
  }
  return run_->exit_reason == KVM_EXIT_IO ? run_->io.port : kOtherExit;
}

int TinyVm::cpl() const {
  kvm_sregs s{};
  return ::ioctl(vcpu_.get(), KVM_GET_SREGS, &s) == 0 ? s.cs.selector & 3 : -1;
}

Status TinyVm::leave_syscall(bool at_cpl3) {
  // At CPL 0 the stub's own sysretq goes back.  PVM stays at CPL 3, where sysretq would be a #GP.
  if (!at_cpl3) return Unit{};
  if (sync_regs_) {
    run_->s.regs.regs.rip = run_->s.regs.regs.rcx;
    run_->s.regs.regs.rflags = run_->s.regs.regs.r11;
    run_->kvm_dirty_regs = KVM_SYNC_X86_REGS;
    return Unit{};
  }
  kvm_regs r{};
  if (::ioctl(vcpu_.get(), KVM_GET_REGS, &r) < 0) return Error::last("KVM_GET_REGS");
  r.rip = r.rcx;
  r.rflags = r.r11;
  if (::ioctl(vcpu_.get(), KVM_SET_REGS, &r) < 0) return Error::last("KVM_SET_REGS");
  return Unit{};
}

bool TinyVm::skip_undefined_int80() {
  kvm_regs r{};
  if (::ioctl(vcpu_.get(), KVM_GET_REGS, &r) < 0 || r.rsp > kBytes - 8) return false;
  std::uint64_t rip = 0;
  std::memcpy(&rip, memory_ + r.rsp, sizeof(rip));
  if (rip > kBytes - 2 || memory_[rip] != 0xcd || memory_[rip + 1] != 0x80) return false;
  put64(memory_, r.rsp, rip + 2);
  return true;
}

}  // namespace hpcvmm::probe
