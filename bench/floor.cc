#include "bench/floor.hh"

#include <fcntl.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/probe/guarded.hh"
#include "vmm/probe/kvm_header.hh"
#include "vmm/probe/raw_facts.hh"
#include "vmm/probe/tiny_vm.hh"

namespace hpcvmm::bench {
namespace {

using probe::now_us;
using probe::TinyVm;

constexpr std::uint8_t kSyscallLoop[] = {0x0f, 0x05, 0xeb, 0xfc};  // 1: syscall; jmp 1b
// 1: movb $1, (%rdi); add %rsi, %rdi; dec %ecx; jnz 1b; out
constexpr std::uint8_t kTouch[] = {0xc6, 0x07, 0x01, 0x48, 0x01, 0xf7, 0xff, 0xc9, 0x75, 0xf6, 0xe6, 0x80};
// mov %ecx, %esi; 1: xor %eax, %eax; cpuid; dec %esi; jnz 1b; out
constexpr std::uint8_t kCpuid[] = {0x89, 0xce, 0x31, 0xc0, 0x0f, 0xa2, 0xff, 0xce, 0x75, 0xf8, 0xe6, 0x80};
constexpr std::uint64_t kTouchBytes = TinyVm::kTouchHuge - TinyVm::kTouch4K;
constexpr std::uint64_t kSmallPages = kTouchBytes / 4096;
constexpr std::uint64_t kHugeBytes = TinyVm::kBytes - TinyVm::kTouchHuge;

/// One VM for all batches: making it is measured elsewhere.
Result<TinyVm*> shared_vm() {
  static TinyVm vm;
  static const Status made = vm.create();
  if (!made) return made.error();
  return &vm;
}

/// Time for the guest to write one byte each `step` bytes; the exit at the end is part of it (1 in >= 1000
/// steps, or subtracted by the caller).
Result<double> touch(TinyVm& vm, std::uint64_t at, std::uint64_t count, std::uint64_t step) {
  vm.load(kTouch, sizeof(kTouch));
  HPCVMM_CHECK_OK(vm.start(TinyVm::Mode::Long, count, at, step));
  const double begin = now_us();
  if (vm.run() != TinyVm::kPortUser) return Error::of(EIO, "KVM_RUN of the touching loop");
  return now_us() - begin;
}

/// The cost of start, one touch of a page that is there, and exit.
Result<double> empty_touch(TinyVm& vm) { return touch(vm, TinyVm::kCode + 4096, 1, 0); }

Result<double> first_touch(std::uint64_t at, std::uint64_t bytes, std::uint64_t step) {
  HPCVMM_TRY(TinyVm* const vm, shared_vm());
  HPCVMM_CHECK_OK(empty_touch(*vm));
  HPCVMM_TRY(const double empty, empty_touch(*vm));
  if (::madvise(vm->memory() + at, bytes, MADV_DONTNEED) < 0) return Error::last("MADV_DONTNEED");
  HPCVMM_TRY(const double all, touch(*vm, at, bytes / step, step));
  return (all - empty) / static_cast<double>(bytes / step);
}

}  // namespace

Result<double> exit_round_trip() {
  constexpr int kRounds = 1000;
  HPCVMM_TRY(TinyVm* const vm, shared_vm());
  vm->load(kSyscallLoop, sizeof(kSyscallLoop));
  HPCVMM_CHECK_OK(vm->start(TinyVm::Mode::Long, 0));
  if (vm->run() != TinyVm::kPortUser) return Error::of(EIO, "KVM_RUN of the system-call loop");
  // A PVM host enters LSTAR at CPL 3, real CPUs at CPL 0.
  const bool at_cpl3 = vm->cpl() == 3;
  const double begin = now_us();
  for (int i = 0; i < kRounds; ++i) {
    HPCVMM_CHECK_OK(vm->leave_syscall(at_cpl3));
    if (vm->run() != TinyVm::kPortUser) return Error::of(EIO, "KVM_RUN of the system-call loop");
  }
  return (now_us() - begin) / kRounds;
}

Result<double> cpuid() {
  constexpr std::uint64_t kRounds = 500;
  HPCVMM_TRY(TinyVm* const vm, shared_vm());
  vm->load(kCpuid, sizeof(kCpuid));
  HPCVMM_CHECK_OK(vm->start(TinyVm::Mode::Long, kRounds));
  const double begin = now_us();
  if (vm->run() != TinyVm::kPortUser) return Error::of(EIO, "KVM_RUN of the CPUID loop");
  return (now_us() - begin) / static_cast<double>(kRounds);
}

Result<double> start_in_vm(const char* const* argv) {
  // Counted for bench/guest/true.c by KVM's own statistics and trace points (Debian 12's C library).
  constexpr double kExits = 14;
  constexpr double kTouches = 57;
  constexpr double kCpuids = 67;
  HPCVMM_TRY(const double process, spawn(argv));
  HPCVMM_TRY(const double vm, create_vm());
  HPCVMM_TRY(const double exit, exit_round_trip());
  HPCVMM_TRY(const double touched, first_touch_4k());
  HPCVMM_TRY(const double asked, cpuid());
  return process + vm + kExits * exit + kTouches * touched + kCpuids * asked;
}

Result<double> first_touch_4k() { return first_touch(TinyVm::kTouch4K, kTouchBytes, 4096); }
Result<double> first_touch_2m() {
  return first_touch(TinyVm::kTouchHuge, kHugeBytes, std::uint64_t{2} << 20);
}

Result<double> copy_on_write() {
  HPCVMM_TRY(TinyVm* const vm, shared_vm());
  // Every page is there before the fork.
  HPCVMM_CHECK_OK(touch(*vm, TinyVm::kTouch4K, kSmallPages, 4096));
  int hold[2];
  if (::pipe2(hold, O_CLOEXEC) < 0) return Error::last("pipe");
  const pid_t child = ::fork();
  if (child < 0) return Error::last("fork");
  if (child == 0) {
    char byte = 0;
    ::close(hold[1]);
    ::_exit(static_cast<int>(::read(hold[0], &byte, 1)));
  }
  const auto written = touch(*vm, TinyVm::kTouch4K, kSmallPages, 4096);
  ::close(hold[1]);
  ::waitpid(child, nullptr, 0);
  ::close(hold[0]);
  if (!written) return written.error();
  return *written / static_cast<double>(kSmallPages);
}

Result<double> create_vm() {
  constexpr std::uint64_t kSlotBytes = std::uint64_t{16} << 20;
  static void* const memory =
      ::mmap(nullptr, kSlotBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return Error::last("mmap guest memory");
  const double begin = now_us();
  const UniqueFd device(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
  if (!device) return Error::last("open /dev/kvm");
  const UniqueFd vm(::ioctl(device.get(), KVM_CREATE_VM, 0));
  if (!vm) return Error::last("KVM_CREATE_VM");
  kvm_userspace_memory_region region{};
  region.memory_size = kSlotBytes;
  region.userspace_addr = reinterpret_cast<std::uint64_t>(memory);
  if (::ioctl(vm.get(), KVM_SET_USER_MEMORY_REGION, &region) < 0)
    return Error::last("KVM_SET_USER_MEMORY_REGION");
  const UniqueFd vcpu(::ioctl(vm.get(), KVM_CREATE_VCPU, 0));
  if (!vcpu) return Error::last("KVM_CREATE_VCPU");
  const int run_bytes = ::ioctl(device.get(), KVM_GET_VCPU_MMAP_SIZE, 0);
  if (run_bytes < 0) return Error::last("KVM_GET_VCPU_MMAP_SIZE");
  const auto bytes = static_cast<std::size_t>(run_bytes);
  void* const run = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu.get(), 0);
  if (run == MAP_FAILED) return Error::last("mmap kvm_run");
  ::munmap(run, bytes);
  return now_us() - begin;  // without the closing, which follows
}

Result<double> spawn(const char* const* argv) {
  const double begin = now_us();
  pid_t child = 0;
  // glibc's posix_spawn is the vfork-like clone: CLONE_VM | CLONE_VFORK.
  const int rc = ::posix_spawnp(&child, argv[0], nullptr, nullptr, const_cast<char* const*>(argv), environ);
  if (rc != 0) return Error::of(rc, "posix_spawn");
  int status = 0;
  if (::waitpid(child, &status, 0) != child) return Error::last("waitpid");
  if (status != 0) return Error::of(EIO, "the command failed");
  return now_us() - begin;
}

Result<double> dispatch_ia32() {
  probe::Direct32 facts{};
  if (probe::run_guarded(2000, facts, probe::probe_direct32) != probe::Outcome::Done || !facts.dispatch)
    return Error::of(ENOSYS, "Syscall User Dispatch of 32-bit code");
  return facts.dispatch_us;
}

Result<double> dispatch_x64() {
  probe::Direct64 facts{};
  if (probe::run_guarded(2000, facts, probe::probe_direct64) != probe::Outcome::Done || !facts.dispatch)
    return Error::of(ENOSYS, "Syscall User Dispatch");
  return facts.dispatch_us;
}

}  // namespace hpcvmm::bench
