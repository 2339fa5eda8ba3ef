// Small guests at CPL 3, timed.
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <cstring>

#include "vmm/probe/guarded.hh"
#include "vmm/probe/raw_facts.hh"
#include "vmm/probe/tiny_vm.hh"

namespace hpcvmm::probe {
namespace {

using Mode = TinyVm::Mode;

// 1: dec %ecx; jnz 1b; out %al, $0x80.  The same bytes mean the same in both modes.
constexpr std::uint8_t kLoop[] = {0xff, 0xc9, 0x75, 0xfc, 0xe6, 0x80};
constexpr std::uint8_t kOutLoop[] = {0xe6, 0x80, 0xeb, 0xfc};                      // 1: out; jmp 1b
constexpr std::uint8_t kSyscallLoop[] = {0x0f, 0x05, 0xeb, 0xfc};                  // 1: syscall; jmp 1b
constexpr std::uint8_t kInt80Loop[] = {0xcd, 0x80, 0xeb, 0xfc};                    // 1: int $0x80; jmp 1b
constexpr std::uint8_t kSse[] = {0x0f, 0x57, 0xc0, 0x0f, 0x58, 0xc0, 0xe6, 0x80};  // xorps; addps; out
// 1: movb $1, (%rdi); add %rsi, %rdi; dec %ecx; jnz 1b; out
constexpr std::uint8_t kTouch[] = {0xc6, 0x07, 0x01, 0x48, 0x01, 0xf7, 0xff, 0xc9, 0x75, 0xf6, 0xe6, 0x80};

constexpr unsigned kRounds = 256;
constexpr std::uint64_t kShortLoop = 2000;
constexpr std::uint64_t kLongLoop = 2'000'000;

void note(KvmBase& out, const Error& error) {
  out.failed_errno = error.code;
  std::strncpy(out.failed_step, error.op, sizeof(out.failed_step) - 1);
}

/// One run of kLoop; its time, or a negative number if it did not reach its end.
double time_loop(TinyVm& vm, Mode mode, std::uint64_t count) {
  vm.load(kLoop, sizeof(kLoop));
  if (!vm.start(mode, count)) return -1;
  const double begin = now_us();
  if (vm.run() != TinyVm::kPortUser) return -1;
  return now_us() - begin;
}

/// Instructions per microsecond outside any VM, of the same loop.
double native_mips() {
  std::uint64_t count = kLongLoop;
  const double begin = now_us();
  asm volatile("1: dec %%ecx\n\tjnz 1b" : "+c"(count) : : "cc");
  return 2.0 * static_cast<double>(kLongLoop) / (now_us() - begin);
}

/// Runs short before long: 4000 emulated instructions are 2 ms, 4 million would be seconds.
CodeRun classify(TinyVm& vm, Mode mode, bool full, double& mips) {
  if (time_loop(vm, mode, 10) < 0) return CodeRun::Absent;  // also maps the pages
  double shortest = -1;
  for (int i = 0; i < 3; ++i) {
    const double t = time_loop(vm, mode, kShortLoop);
    if (t >= 0 && (shortest < 0 || t < shortest)) shortest = t;
  }
  if (shortest < 0) return CodeRun::Absent;
  mips = 2.0 * static_cast<double>(kShortLoop) / shortest;
  // Natively 4000 instructions are lost in the cost of the exit (1-50 us); an emulator takes 2000 us.  The
  // shortest of three, so that a busy machine does not look like an emulator; no difference of two times, so
  // that it does not make an emulator look native.
  if (shortest > 400) return CodeRun::Emulated;
  if (full) {
    const double t = time_loop(vm, mode, kLongLoop);
    if (t > 0) mips = 2.0 * static_cast<double>(kLongLoop) / t;
  }
  return CodeRun::Native;
}

double measure_exit(TinyVm& vm) {
  vm.load(kOutLoop, sizeof(kOutLoop));
  if (!vm.start(Mode::Long, 0)) return 0;
  double times[kRounds];
  for (double& t : times) {
    const double begin = now_us();
    if (vm.run() != TinyVm::kPortUser) return 0;
    t = now_us() - begin;
  }
  return median(times, kRounds);
}

void measure_syscall(TinyVm& vm, KvmBase& out) {
  vm.load(kSyscallLoop, sizeof(kSyscallLoop));
  if (!vm.start(Mode::Long, 0) || vm.run() != TinyVm::kPortUser) return;
  out.lstar_cpl = vm.cpl();
  const bool at_cpl3 = out.lstar_cpl == 3;
  double times[kRounds];
  for (double& t : times) {
    const double begin = now_us();
    if (!vm.leave_syscall(at_cpl3) || vm.run() != TinyVm::kPortUser) return;
    t = now_us() - begin;
  }
  out.syscall_us = median(times, kRounds);
}

void base_probe(KvmBase& out, bool full) {
  TinyVm vm;
  if (auto made = vm.create(); !made) {
    note(out, made.error());
    if (!vm.device()) return;
  }
  const int device = vm.device().get();
  out.api_version = ::ioctl(device, KVM_GET_API_VERSION, 0);
  out.nr_memslots = ::ioctl(device, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS);
  out.max_vcpus = ::ioctl(device, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
  out.sync_regs = ::ioctl(device, KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS);
  if (out.failed_errno != 0) return;
  const CodeRun run = classify(vm, Mode::Long, full, out.mips64);
  if (run == CodeRun::Absent) note(out, Error::of(EIO, "64-bit code at CPL 3"));
  out.run64 = run;
  if (!full || run == CodeRun::Absent) return;
  out.mips_native = native_mips();
  out.exit_us = measure_exit(vm);
  measure_syscall(vm, out);
}

void int80_probe(TinyVm& vm, Kvm32& out) {
  vm.load(kInt80Loop, sizeof(kInt80Loop));
  if (!vm.start(Mode::Compat, 0)) return;
  double times[kRounds];
  for (double& t : times) {
    const double begin = now_us();
    const int port = vm.run();
    // PVM's emulator does not know int $0x80 and raises #UD at it.
    if (port == TinyVm::kPortUndefined && vm.skip_undefined_int80())
      out.int80_as_undefined = true;
    else if (port != TinyVm::kPortInt80)
      return;
    t = now_us() - begin;
  }
  out.int80_us = median(times, kRounds);
}

}  // namespace

void probe_kvm_base(KvmBase& out) { base_probe(out, true); }
void probe_kvm_run64(KvmBase& out) { base_probe(out, false); }

void probe_kvm_run32(Kvm32& out) {
  TinyVm vm;
  if (auto made = vm.create(); !made)
    out.failed_errno = made.error().code;
  else
    out.run32 = classify(vm, Mode::Compat, false, out.mips32);
}

void probe_kvm32(Kvm32& out) {
  TinyVm vm;
  if (auto made = vm.create(); !made) {
    out.failed_errno = made.error().code;
    return;
  }
  out.run32 = classify(vm, Mode::Compat, true, out.mips32);
  if (out.run32 != CodeRun::Absent) int80_probe(vm, out);
}

void probe_kvm32_sse(Kvm32Sse& out) {
  TinyVm vm;
  if (!vm.create()) return;
  vm.load(kSse, sizeof(kSse));
  if (!vm.start(Mode::Compat, 0)) return;
  out.works = vm.run() == TinyVm::kPortUser;
}

void probe_kvm_touch(KvmTouch& out) {
  TinyVm vm;
  if (!vm.create() || time_loop(vm, Mode::Long, 10) < 0) return;
  vm.load(kTouch, sizeof(kTouch));
  constexpr std::uint64_t kPages = 512;
  constexpr std::uint64_t kHugePages = 4;
  const double empty = time_loop(vm, Mode::Long, 10);
  const auto touch = [&vm, empty](std::uint64_t at, std::uint64_t pages, std::uint64_t step) {
    vm.load(kTouch, sizeof(kTouch));
    if (!vm.start(Mode::Long, pages, at, step)) return 0.0;
    const double begin = now_us();
    if (vm.run() != TinyVm::kPortUser) return 0.0;
    return (now_us() - begin - empty) / static_cast<double>(pages);
  };
  out.touch4k_us = touch(TinyVm::kTouch4K, kPages, 4096);
  out.touch2m_us = touch(TinyVm::kTouchHuge, kHugePages, 2ULL << 20);
  // The guest wrote one byte of the first huge page; if the host backs its end too, it is one.
  unsigned char resident = 0;
  ::mincore(vm.memory() + TinyVm::kTouchHuge + (2ULL << 20) - 4096, 4096, &resident);
  out.huge_given = (resident & 1) != 0;
}

}  // namespace hpcvmm::probe
