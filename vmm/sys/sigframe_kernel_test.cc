// Goal: our frames are the running kernel's, and our sigreturn does what its sigreturn does, for both ABIs.
// Method: sigframe_dump (built for each ABI) faults natively with known registers and dumps its stack;
// push_frame must produce the same bytes from the same registers, and pop_frame on the frame that the helper
// has tampered with must give the registers that the helper found behind the real sigreturn -- or refuse
// where the kernel killed it.
#include <cpuid.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "vmm/sys/sigframe.hh"
#include "vmm/sys/sigframe_dump.h"
#include "vmm/sys/sigframe_layout.hh"
#include "vmm/sys/siginfo.hh"

namespace hpcvmm::sys {
namespace {

// The gate is plain functions, so the stack they reach is a variable.
struct {
  std::uint64_t base = 0;
  std::uint8_t bytes[kMemoryBytes];
} g_memory;

bool reach(std::uint64_t at, std::size_t bytes) {
  return at >= g_memory.base && at - g_memory.base <= kMemoryBytes &&
         bytes <= kMemoryBytes - (at - g_memory.base);
}
bool copy_in(void* to, std::uint64_t from, std::size_t bytes) {
  if (!reach(from, bytes)) return false;
  std::memcpy(to, g_memory.bytes + (from - g_memory.base), bytes);
  return true;
}
bool copy_out(std::uint64_t to, const void* from, std::size_t bytes) {
  if (!reach(to, bytes)) return false;
  std::memcpy(g_memory.bytes + (to - g_memory.base), from, bytes);
  return true;
}
const HostGate kGate{nullptr, nullptr, copy_in, copy_out};

/// The dumps that the helper wrote: one if the kernel refused its frame, else two.
std::vector<Dump> run_helper(unsigned bits, unsigned how, int tamper) {
  const std::string command = std::string("exec ") + (bits == 64 ? SIGFRAME_DUMP64 : SIGFRAME_DUMP32) + ' ' +
                              std::to_string(how) + ' ' + std::to_string(tamper);
  std::vector<Dump> dumps;
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return dumps;
  Dump dump;
  while (std::fread(&dump, sizeof(dump), 1, pipe) == 1) dumps.push_back(dump);
  ::pclose(pipe);
  return dumps;
}

/// Why this host cannot run the helper, or nullptr.
const char* cannot_run(unsigned bits) {
  if (__builtin_cpu_supports("avx") == 0) return "the helper needs AVX, which this CPU lacks";
  constexpr int kNotExecutable = 126;  // the shell's status for ENOEXEC
  // No arguments: exit status 2 from a helper that runs at all.
  const std::string probe = std::string(bits == 64 ? SIGFRAME_DUMP64 : SIGFRAME_DUMP32) + " 2>/dev/null";
  const int status = std::system(probe.c_str());
  const bool runs = !WIFEXITED(status) || WEXITSTATUS(status) != kNotExecutable;
  return runs ? nullptr : "this kernel runs no IA32 programs (CONFIG_IA32_EMULATION)";
}

GuestRegs regs_of(const DumpRegs& d) {
  GuestRegs r{};
  std::memcpy(&r.rax, &d.ax, 8);
  r.rbx = d.bx, r.rcx = d.cx, r.rdx = d.dx, r.rsi = d.si, r.rdi = d.di, r.rbp = d.bp, r.rsp = d.sp;
  r.r8 = d.r8, r.r9 = d.r9, r.r10 = d.r10, r.r11 = d.r11;
  r.r12 = d.r12, r.r13 = d.r13, r.r14 = d.r14, r.r15 = d.r15;
  r.rip = d.ip, r.rflags = d.flags;
  r.cs = static_cast<std::uint16_t>(d.cs), r.ss = static_cast<std::uint16_t>(d.ss);
  r.ds = static_cast<std::uint16_t>(d.ds), r.es = static_cast<std::uint16_t>(d.es);
  r.fs = static_cast<std::uint16_t>(d.fs), r.gs = static_cast<std::uint16_t>(d.gs);
  return r;
}

void expect_general(const GuestRegs& ours, const DumpRegs& real) {
  EXPECT_EQ(ours.rax, real.ax);
  EXPECT_EQ(ours.rbx, real.bx);
  EXPECT_EQ(ours.rcx, real.cx);
  EXPECT_EQ(ours.rdx, real.dx);
  EXPECT_EQ(ours.rsi, real.si);
  EXPECT_EQ(ours.rdi, real.di);
  EXPECT_EQ(ours.rbp, real.bp);
  EXPECT_EQ(ours.rsp, real.sp);
  EXPECT_EQ(ours.r8, real.r8);
  EXPECT_EQ(ours.r11, real.r11);
  EXPECT_EQ(ours.r15, real.r15);
  EXPECT_EQ(ours.cs, real.cs);
  EXPECT_EQ(ours.ss, real.ss);
  constexpr std::uint64_t kResume = 1u << 16;  // pushf never shows RF
  EXPECT_EQ(ours.rflags & ~kResume, real.flags & ~kResume);
}

struct Parts {  // of the dumped frame, found with the layouts
  std::uint64_t flags, fpstate, fx;
  std::uint32_t pretcode;
  FpState fp;
};

template <class T> T at(const std::uint8_t* memory, const Dump& dump, std::uint64_t address) {
  T value;
  std::memcpy(&value, memory + (address - dump.base), sizeof(value));
  return value;
}

Parts take_apart(const Dump& dump) {
  Parts p{};
  const std::uint64_t frame = dump.entry.sp;
  if (dump.bits == 64) {
    const auto sc = at<layout::RtSigframe64>(dump.memory, dump, frame).uc.mcontext;
    p.flags = sc.flags, p.fpstate = p.fx = sc.fpstate;
  } else {
    const auto sc = (dump.flags & SA_SIGINFO) != 0
                        ? at<layout::RtSigframe32>(dump.memory, dump, frame).uc.mcontext
                        : at<layout::Sigframe32>(dump.memory, dump, frame).sc;
    p.flags = sc.flags, p.fpstate = sc.fpstate, p.fx = sc.fpstate + sizeof(layout::FsaveHeader);
    p.pretcode = at<std::uint32_t>(dump.memory, dump, frame);
  }
  const auto sw = at<layout::FpxSwBytes>(dump.memory, dump, p.fx + offsetof(layout::Fxsave, sw));
  p.fp.bytes = sw.xstate_size;
  std::memcpy(p.fp.area.data(), dump.memory + (p.fx - dump.base), p.fp.bytes);
  return p;
}

Delivery delivery_of(const Dump& dump, unsigned how, const Parts& parts) {
  Delivery d;
  const bool page = (how & kPageFault) != 0;
  d.signo = page ? SIGSEGV : SIGILL;
  d.info.si_signo = d.signo;
  d.info.si_code = page ? int{SEGV_MAPERR} : int{ILL_ILLOPN};
  d.info.si_addr = reinterpret_cast<void*>(page ? 0x10 : dump.before.ip);
  d.handler = dump.handler, d.flags = dump.flags, d.restorer = dump.restorer, d.old_mask = dump.old_mask;
  d.altstack_sp = dump.alt_sp, d.altstack_size = dump.alt_size;
  d.trapno = page ? 14 : 6, d.error_code = page ? 6 : 0, d.cr2 = page ? 0x10 : 0;
  d.action_abi = dump.bits == 64 ? Abi::X64 : Abi::Ia32;
  d.vdso_sigreturn = d.vdso_rt_sigreturn = parts.pretcode;
  return d;
}

/// Where AMX's configuration lies in an XSAVE area that has it (Intel SDM vol. 1, 13.5.13): what is in its
/// initial state the kernel does not write there.
bool in_absent_tile_config(const Dump& dump, const Parts& parts, std::uint64_t address) {
  constexpr unsigned kTileConfig = 17;
  unsigned bytes = 0, offset = 0, c = 0, d = 0;
  if (__get_cpuid_count(0xd, kTileConfig, &bytes, &offset, &c, &d) == 0 || bytes == 0) return false;
  const auto header = at<layout::XstateHeader>(dump.memory, dump, parts.fx + sizeof(layout::Fxsave));
  const std::uint64_t in_area = address - parts.fx;
  return (header.xstate_bv >> kTileConfig & 1) == 0 && in_area >= offset && in_area < offset + bytes;
}

/// Bytes of a frame that Linux leaves as they were and we write as zero.
bool untouched_by_linux(const Dump& dump, const Parts& parts, std::uint64_t address) {
  if (in_absent_tile_config(dump, parts, address)) return true;
  const std::uint64_t in_frame = address - dump.entry.sp;
  if (dump.bits == 64) {
    const std::uint64_t uc = offsetof(layout::RtSigframe64, uc);
    const std::uint64_t pad = uc + offsetof(layout::Ucontext64, stack) + offsetof(layout::Stack64, pad);
    const std::uint64_t reserved =
        uc + offsetof(layout::Ucontext64, mcontext) + offsetof(layout::Sigcontext64, reserved);
    return (in_frame >= pad && in_frame < pad + 4) || (in_frame >= reserved && in_frame < reserved + 64);
  }
  const std::uint64_t unused = offsetof(layout::Sigframe32, fpstate_unused);
  const bool old = (dump.flags & SA_SIGINFO) == 0;
  return old && in_frame >= unused && in_frame < unused + sizeof(layout::Sigframe32::fpstate_unused);
}

using Case = std::tuple<unsigned, unsigned>;  // bits, how
class KernelFrame : public testing::TestWithParam<Case> {
  void SetUp() override {
    if (const char* why = cannot_run(std::get<0>(GetParam()))) GTEST_SKIP() << why;
  }
};

TEST_P(KernelFrame, SameBytesAndRegisters) {
  const auto [bits, how] = GetParam();
  const std::vector<Dump> dumps = run_helper(bits, how, kNothing);
  ASSERT_EQ(dumps.size(), 2u) << "helper failed";
  const Dump& dump = dumps[0];
  ASSERT_EQ(dump.bits, bits);
  Parts parts = take_apart(dump);
  ASSERT_GT(parts.fp.bytes, 576u) << "this CPU has no AVX: the comparison would be empty";
  GuestRegs regs = regs_of(dump.before);
  regs.rflags = parts.flags;
  EXPECT_EQ(parts.flags & 0x401, 0x401u) << "the helper sets DF and CF";

  g_memory.base = dump.base;
  std::memset(g_memory.bytes, 0xa5, kMemoryBytes);
  const Delivery d = delivery_of(dump, how, parts);
  ASSERT_TRUE(push_frame(regs, parts.fp, d, kGate));
  expect_general(regs, dump.entry);
  EXPECT_EQ(regs.rip, dump.handler);
  EXPECT_EQ(regs.rflags & 0x10500, 0u);
  if (bits == 32) {
    EXPECT_EQ(regs.ds, dump.entry.ds);
    EXPECT_EQ(regs.es, dump.entry.es);
  }
  unsigned compared = 0;
  for (std::uint64_t i = 0; i < kMemoryBytes; ++i) {
    const std::uint64_t address = dump.base + i;
    if (g_memory.bytes[i] == 0 && dump.memory[i] == 0xa5 && untouched_by_linux(dump, parts, address))
      continue;
    ASSERT_EQ(g_memory.bytes[i], dump.memory[i])
        << "frame+" << std::hex << address - dump.entry.sp << " fx+" << address - parts.fx;
    if (dump.memory[i] != 0xa5) ++compared;
  }
  EXPECT_GT(compared, parts.fp.bytes / 2) << "almost nothing was compared";
}

TEST(KernelFrame64, NoRestorerIsFatal) {
  if (const char* why = cannot_run(64)) GTEST_SKIP() << why;
  EXPECT_EQ(run_helper(64, kOnStack | kSiginfo, kNothing).size(), 0u) << "Linux builds a frame after all";
  const std::vector<Dump> dumps = run_helper(64, kOnStack | kSiginfo | kRestorer, kNothing);
  ASSERT_EQ(dumps.size(), 2u);
  const Parts parts = take_apart(dumps[0]);
  Delivery d = delivery_of(dumps[0], 0, parts);
  d.flags &= ~0x04000000ULL;
  GuestRegs regs = regs_of(dumps[0].before);
  EXPECT_FALSE(push_frame(regs, parts.fp, d, kGate));
}

INSTANTIATE_TEST_SUITE_P(X64, KernelFrame,
                         testing::Values(Case{64, 7}, Case{64, 6}, Case{64, 5}, Case{64, 4}, Case{64, 15},
                                         Case{64, 14}));
INSTANTIATE_TEST_SUITE_P(Ia32, KernelFrame, testing::Combine(testing::Values(32u), testing::Range(0u, 16u)));

void expect_same_fp(const FpState& ours, const Dump& real) {
  const auto* a = reinterpret_cast<const std::uint8_t*>(ours.area.data());
  const std::uint8_t* b = real.after_fp;
  layout::Fxsave x, y;
  std::memcpy(&x, a, sizeof(x));
  std::memcpy(&y, b, sizeof(y));
  EXPECT_EQ(x.cwd, y.cwd);
  EXPECT_EQ(x.swd, y.swd);
  EXPECT_EQ(x.twd, y.twd);
  EXPECT_EQ(x.mxcsr, y.mxcsr);
  EXPECT_EQ(std::memcmp(x.st, y.st, sizeof(x.st)), 0);
  const std::size_t xmms = real.bits == 64 ? 16 : 8;  // 32-bit XSAVE leaves the others out
  EXPECT_EQ(std::memcmp(x.xmm, y.xmm, xmms * 16), 0);
  constexpr std::size_t kAvxAt = 576;
  EXPECT_EQ(std::memcmp(a + kAvxAt, b + kAvxAt, xmms * 16), 0) << "upper halves of YMM";
}

using Return = std::tuple<unsigned, unsigned, int>;  // bits, how, tamper
class KernelReturn : public testing::TestWithParam<Return> {
  void SetUp() override {
    if (const char* why = cannot_run(std::get<0>(GetParam()))) GTEST_SKIP() << why;
  }
};

TEST_P(KernelReturn, SameRegistersOrSameRefusal) {
  const auto [bits, how, tamper] = GetParam();
  const std::vector<Dump> dumps = run_helper(bits, how, tamper);
  ASSERT_GE(dumps.size(), 1u) << "helper failed";
  const bool accepted = dumps.size() == 2;
  const Dump& dump = dumps.back();
  const bool rt = bits == 64 || (how & kSiginfo) != 0;

  g_memory.base = dump.base;
  std::memcpy(g_memory.bytes, dump.tampered, kMemoryBytes);
  GuestRegs regs = regs_of(dump.entry);
  regs.rsp = dump.entry.sp + (rt ? bits / 8 : 8);
  regs.rflags = 0x202;
  FpState fp;
  init_fp(fp, take_apart(dump).fp.bytes);
  std::uint64_t mask = ~0ULL;
  AltStack alt{dump.alt_sp, dump.alt_size, 0};
  const SigreturnKind kind = bits == 64 ? SigreturnKind::Rt64
                             : rt       ? SigreturnKind::Rt32
                                        : SigreturnKind::Old32;
  ASSERT_EQ(pop_frame(regs, fp, mask, alt, kind, kGate), accepted);
  if (!accepted) return;
  expect_general(regs, dump.after);
  EXPECT_EQ(regs.rip, dump.after.ip);
  EXPECT_EQ(mask, dump.after_mask);
  EXPECT_EQ(alt.sp, dump.after_alt_sp);
  EXPECT_EQ(alt.size, dump.after_alt_size);
  EXPECT_EQ(altstack_report(alt, dump.after.sp), dump.after_alt_flags);
  expect_same_fp(fp, dump);
}

INSTANTIATE_TEST_SUITE_P(X64, KernelReturn,
                         testing::Combine(testing::Values(64u), testing::Values(7u, 6u),
                                          testing::Range(0, static_cast<int>(kTampers))));
INSTANTIATE_TEST_SUITE_P(Ia32, KernelReturn,
                         testing::Combine(testing::Values(32u), testing::Values(7u, 5u, 0u, 2u),
                                          testing::Range(0, static_cast<int>(kTampers))));

TEST(KernelReturnTable, BothOutcomesOccur) {
  if (const char* why = cannot_run(32)) GTEST_SKIP() << why;
  EXPECT_EQ(run_helper(64, 7, kMxcsrReserved).size(), 1u);
  EXPECT_EQ(run_helper(32, 7, kHeaderReserved).size(), 1u);
  EXPECT_EQ(run_helper(32, 7, kMisaligned).size(), 2u);
}

}  // namespace
}  // namespace hpcvmm::sys
