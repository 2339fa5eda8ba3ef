// Goal: the rules of stack choice, round trips and refusals that one dump of a running kernel does not show.
// Method: guest memory is one buffer, so that a frame can end at its edges.
#include "vmm/sys/sigframe.hh"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <random>
#include <utility>

#include "vmm/sys/sigframe_layout.hh"

namespace hpcvmm::sys {
namespace {

constexpr std::uint64_t kBase = 0x40000000, kBytes = 65536;
constexpr std::uint64_t kRestorerFlag = 0x04000000;
constexpr std::uint32_t kAutodisarmFlag = 1u << 31;
constexpr std::uint32_t kAvxBytes = 832;
std::uint8_t g_bytes[kBytes];

bool reach(std::uint64_t at, std::size_t n) {
  return at >= kBase && at - kBase <= kBytes && n <= kBytes - (at - kBase);
}
bool copy_in(void* to, std::uint64_t from, std::size_t n) {
  if (!reach(from, n)) return false;
  std::memcpy(to, g_bytes + (from - kBase), n);
  return true;
}
bool copy_out(std::uint64_t to, const void* from, std::size_t n) {
  if (!reach(to, n)) return false;
  std::memcpy(g_bytes + (to - kBase), from, n);
  return true;
}
const HostGate kGate{nullptr, nullptr, copy_in, copy_out};

GuestRegs some_regs(bool ia32) {
  GuestRegs r{};
  r.rax = 1, r.rbx = 2, r.rcx = 3, r.rdx = 4, r.rsi = 5, r.rdi = 6, r.rbp = 7, r.rsp = kBase + 32768 + 5;
  r.r8 = 8, r.r9 = 9, r.r10 = 10, r.r11 = 11, r.r12 = 12, r.r13 = 13, r.r14 = 14, r.r15 = 15;
  r.rip = 0x12345678, r.rflags = 0xe57;
  r.fs_base = 77, r.gs_base = 88;
  r.cs = ia32 ? kUserCs32 : kUserCs64;
  r.ss = kUserDs;
  if (ia32) r.ds = r.es = kUserDs, r.gs = 0x63;
  return r;
}

Delivery some_delivery(bool ia32) {
  Delivery d;
  d.signo = SIGUSR2;
  d.info.si_signo = SIGUSR2;
  d.handler = 0x8048000;
  d.flags = kRestorerFlag | SA_SIGINFO;
  d.restorer = 0x8049000;
  d.old_mask = 0x8000'0001'0000'0402;
  d.action_abi = ia32 ? Abi::Ia32 : Abi::X64;
  return d;
}

FpState some_fp() {
  FpState fp;
  init_fp(fp, kAvxBytes);
  auto* bytes = reinterpret_cast<std::uint8_t*>(fp.area.data());
  for (unsigned i = 32; i < 416; ++i) bytes[i] = static_cast<std::uint8_t>(i);
  for (unsigned i = 0; i < 8; ++i) std::memset(bytes + 32 + 16 * i + 10, 0, 6);
  for (unsigned i = 576; i < kAvxBytes; ++i) bytes[i] = static_cast<std::uint8_t>(i * 3);
  bytes[0] = 0x7f, bytes[1] = 0x02, bytes[4] = 0xff;
  bytes[25] = 0x3f;
  bytes[512] = 7;
  return fp;
}

struct Kind {
  bool ia32;
  std::uint64_t flags;
  SigreturnKind back;
  std::uint64_t popped;  // by the handler's return and the restorer
};
constexpr Kind kKinds[] = {{false, kRestorerFlag | SA_SIGINFO, SigreturnKind::Rt64, 8},
                           {true, kRestorerFlag | SA_SIGINFO, SigreturnKind::Rt32, 4},
                           {true, kRestorerFlag, SigreturnKind::Old32, 8}};

TEST(SigFrame, RoundTrip) {
  for (const Kind& kind : kKinds) {
    const GuestRegs before = some_regs(kind.ia32);
    const FpState fp_before = some_fp();
    Delivery d = some_delivery(kind.ia32);
    d.flags = kind.flags;
    d.altstack_sp = kBase + 40960, d.altstack_size = 8192;
    GuestRegs regs = before;
    ASSERT_TRUE(push_frame(regs, fp_before, d, kGate));
    EXPECT_EQ(regs.rip, d.handler);
    EXPECT_EQ(regs.rflags, before.rflags & ~0x500ULL);
    EXPECT_EQ(kind.ia32 ? (regs.rsp + 4) % 16 : (regs.rsp + 8) % 16, 0u);
    EXPECT_LT(regs.rsp, before.rsp - (kind.ia32 ? 0 : 128));

    regs.rsp += kind.popped;
    regs.rflags = 0x246;
    FpState fp;
    init_fp(fp, kAvxBytes);
    std::uint64_t mask = 0;
    AltStack alt{d.altstack_sp, d.altstack_size, 0};
    ASSERT_TRUE(pop_frame(regs, fp, mask, alt, kind.back, kGate));
    EXPECT_EQ(std::memcmp(&regs.rbx, &before.rbx, offsetof(GuestRegs, r8) - offsetof(GuestRegs, rbx)), 0);
    EXPECT_EQ(regs.rax, before.rax);
    EXPECT_EQ(regs.rip, before.rip);
    EXPECT_EQ(regs.r15, before.r15);
    EXPECT_EQ(regs.rflags, before.rflags);
    EXPECT_EQ(regs.cs, before.cs);
    EXPECT_EQ(regs.ss, before.ss);
    EXPECT_EQ(regs.gs, before.gs);
    EXPECT_EQ(regs.fs_base, before.fs_base);
    EXPECT_EQ(mask, d.old_mask);
    EXPECT_EQ(alt.sp, d.altstack_sp);
    EXPECT_EQ(fp.area, fp_before.area) << "kind " << static_cast<int>(kind.back);
  }
}

TEST(SigFrame, MaskNeverHoldsKillOrStop) {
  for (const Kind& kind : kKinds) {
    GuestRegs regs = some_regs(kind.ia32);
    Delivery d = some_delivery(kind.ia32);
    d.flags = kind.flags;
    d.old_mask = ~0ULL;
    FpState fp = some_fp();
    ASSERT_TRUE(push_frame(regs, fp, d, kGate));
    regs.rsp += kind.popped;
    std::uint64_t mask = 0;
    AltStack alt;
    ASSERT_TRUE(pop_frame(regs, fp, mask, alt, kind.back, kGate));
    EXPECT_EQ(mask, ~(1ULL << (SIGKILL - 1) | 1ULL << (SIGSTOP - 1)));
  }
}

TEST(SigFrame, AlternateStackIsEnteredOnce) {
  const FpState fp = some_fp();
  Delivery d = some_delivery(false);
  d.flags |= SA_ONSTACK;
  d.altstack_sp = kBase + 40960, d.altstack_size = 8192;
  GuestRegs regs = some_regs(false);
  ASSERT_TRUE(push_frame(regs, fp, d, kGate));
  EXPECT_TRUE(on_altstack({d.altstack_sp, d.altstack_size, 0}, regs.rsp));
  const std::uint64_t first = regs.rsp;
  ASSERT_TRUE(push_frame(regs, fp, d, kGate));  // nested: goes on below, behind the red zone
  EXPECT_LT(regs.rsp, first - 128);
  EXPECT_GT(regs.rsp, d.altstack_sp);
  d.altstack_flags = kAutodisarmFlag;  // this one is never "on the stack": it starts at the top again
  regs.rsp = first;
  ASSERT_TRUE(push_frame(regs, fp, d, kGate));
  EXPECT_EQ(regs.rsp, first);
}

TEST(SigFrame, AlternateStackOverflowIsRefused) {
  for (const Kind& kind : kKinds) {
    const FpState fp = some_fp();
    Delivery d = some_delivery(kind.ia32);
    d.flags = kind.flags | SA_ONSTACK;
    d.altstack_sp = kBase + 40960, d.altstack_size = 1024;  // smaller than the FP area and the frame
    GuestRegs regs = some_regs(kind.ia32);
    const GuestRegs before = regs;
    EXPECT_FALSE(push_frame(regs, fp, d, kGate));
    EXPECT_EQ(std::memcmp(&regs, &before, offsetof(GuestRegs, gs)), 0);
    d.altstack_size = 8192;
    regs.rsp = d.altstack_sp + 512;  // on it already, and near its end
    d.flags = kind.flags;
    EXPECT_FALSE(push_frame(regs, fp, d, kGate));
  }
}

TEST(SigFrame, BadStackIsRefused) {
  for (const Kind& kind : kKinds) {
    const FpState fp = some_fp();
    Delivery d = some_delivery(kind.ia32);
    d.flags = kind.flags;
    for (const std::uint64_t sp : {std::uint64_t{0}, std::uint64_t{100}, kBase, kBase + 900, kBase + 1200,
                                   kBase + kBytes + 4096, ~std::uint64_t{0}}) {
      GuestRegs regs = some_regs(kind.ia32);
      regs.rsp = sp;
      const GuestRegs before = regs;
      EXPECT_FALSE(push_frame(regs, fp, d, kGate)) << std::hex << sp;
      EXPECT_EQ(std::memcmp(&regs, &before, offsetof(GuestRegs, gs)), 0);
    }
  }
}

TEST(SigFrame, LegacySwitchUsesRestorerAsStack) {
  const FpState fp = some_fp();
  Delivery d = some_delivery(true);
  d.flags = 0;
  d.restorer = kBase + 20000;
  GuestRegs regs = some_regs(true);
  regs.ss = 0x7;  // a stack segment of its own; Linux then insists on the alternate stack's bounds
  EXPECT_FALSE(push_frame(regs, fp, d, kGate));
  d.altstack_sp = kBase + 10000, d.altstack_size = 10000;
  regs = some_regs(true);
  regs.ss = 0x7;
  ASSERT_TRUE(push_frame(regs, fp, d, kGate));
  EXPECT_LT(regs.rsp, d.restorer);
  EXPECT_GT(regs.rsp, d.restorer - 4096);
}

TEST(SigFrame, RestorerWithoutVdsoIsOnTheStack) {
  const FpState fp = some_fp();
  Delivery d = some_delivery(true);
  d.flags = 0;
  d.restorer = 0;
  GuestRegs regs = some_regs(true);
  ASSERT_TRUE(push_frame(regs, fp, d, kGate));
  layout::Sigframe32 frame;
  ASSERT_TRUE(copy_in(&frame, regs.rsp, sizeof(frame)));
  EXPECT_EQ(frame.pretcode, regs.rsp + offsetof(layout::Sigframe32, retcode));
  d.vdso_sigreturn = 0xf7ff0560;
  regs = some_regs(true);
  ASSERT_TRUE(push_frame(regs, fp, d, kGate));
  ASSERT_TRUE(copy_in(&frame, regs.rsp, sizeof(frame)));
  EXPECT_EQ(frame.pretcode, 0xf7ff0560u);
}

TEST(SigFrame, HostWithoutXsave) {
  FpState fp;
  init_fp(fp, 512);
  GuestRegs regs = some_regs(false);
  ASSERT_TRUE(push_frame(regs, fp, some_delivery(false), kGate));
  layout::RtSigframe64 frame;
  ASSERT_TRUE(copy_in(&frame, regs.rsp, sizeof(frame)));
  EXPECT_EQ(frame.uc.flags & layout::kUcFpXstate, 0u);
  regs.rsp += 8;
  std::uint64_t mask = 0;
  AltStack alt;
  FpState back;
  init_fp(back, 512);
  ASSERT_TRUE(pop_frame(regs, back, mask, alt, SigreturnKind::Rt64, kGate));
  EXPECT_EQ(back.area, fp.area);
}

TEST(SigFrame, SelectorsOfNoUserSegmentBecomeNull) {
  const FpState fp = some_fp();
  for (const auto& [raw, expected] : {std::pair<std::uint16_t, std::uint16_t>{0, 0},
                                      {3, 3},
                                      {0x10, 0},     // kernel code
                                      {0x28, 0x2b},  // RPL forced
                                      {0x63, 0x63},  // TLS
                                      {0x40, 0},     // TSS
                                      {0xfff8, 0}}) {
    GuestRegs regs = some_regs(true);
    regs.fs = raw;
    ASSERT_TRUE(push_frame(regs, fp, some_delivery(true), kGate));
    regs.rsp += 4;
    std::uint64_t mask = 0;
    AltStack alt;
    FpState back;
    init_fp(back, kAvxBytes);
    ASSERT_TRUE(pop_frame(regs, back, mask, alt, SigreturnKind::Rt32, kGate));
    EXPECT_EQ(regs.fs, expected) << raw;
  }
}

TEST(SigAltStack, Rules) {
  AltStack stack;
  EXPECT_EQ(altstack_report(stack, kBase), static_cast<std::uint32_t>(SS_DISABLE));
  EXPECT_EQ(set_altstack(stack, {kBase, 2047, 0}, 0), ENOMEM);
  EXPECT_EQ(set_altstack(stack, {kBase, 4096, 8}, 0), EINVAL);
  EXPECT_EQ(set_altstack(stack, {kBase, 4096, 0}, 0), 0);
  EXPECT_FALSE(on_altstack(stack, kBase));
  EXPECT_TRUE(on_altstack(stack, kBase + 1));
  EXPECT_TRUE(on_altstack(stack, kBase + 4096));
  EXPECT_FALSE(on_altstack(stack, kBase + 4097));
  EXPECT_EQ(altstack_report(stack, kBase + 1), static_cast<std::uint32_t>(SS_ONSTACK));
  EXPECT_EQ(set_altstack(stack, {0, 0, SS_DISABLE}, kBase + 100), EPERM);
  EXPECT_EQ(set_altstack(stack, {kBase, 4096, kAutodisarmFlag}, 0), 0);
  EXPECT_FALSE(on_altstack(stack, kBase + 1));
  EXPECT_EQ(set_altstack(stack, {5, 6, SS_DISABLE}, kBase + 100), 0);
  EXPECT_EQ(stack.sp | stack.size, 0u);
}

TEST(SigFrame, RandomFramesNeverEscape) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  unsigned accepted = 0, refused = 0;
  for (unsigned round = 0; round < 20000; ++round) {
    const Kind& kind = kKinds[round % 3];
    GuestRegs regs = some_regs(kind.ia32);
    FpState fp = some_fp();
    Delivery d = some_delivery(kind.ia32);
    d.flags = kind.flags;
    ASSERT_TRUE(push_frame(regs, fp, d, kGate));
    const std::uint64_t frame = regs.rsp;
    regs.rsp += kind.popped;
    regs.rflags = 0x202;
    for (std::uint64_t hits = random() % 12; hits != 0; --hits) {
      const std::uint64_t at = frame + random() % (kBase + 32768 - frame);
      g_bytes[at - kBase] = static_cast<std::uint8_t>(random());
    }
    if (round % 16 == 0) regs.rsp = kBase + random() % (2 * kBytes);
    std::uint64_t mask = 0;
    AltStack alt;
    const bool good = pop_frame(regs, fp, mask, alt, kind.back, kGate);
    good ? ++accepted : ++refused;
    ASSERT_EQ(regs.rflags & ~0x50dd5ULL, 0x202u) << "a privileged flag came from the frame";
    ASSERT_EQ(mask & (1ULL << (SIGKILL - 1) | 1ULL << (SIGSTOP - 1)), 0u);
    ASSERT_EQ(fp.bytes, kAvxBytes);
    layout::Fxsave fx;
    layout::XstateHeader header;
    std::memcpy(&fx, fp.area.data(), sizeof(fx));
    std::memcpy(&header, fp.area.data() + sizeof(fx), sizeof(header));
    ASSERT_EQ(fx.mxcsr & ~fx.mxcsr_mask, 0u) << "loading this would fault in the VMM";
    ASSERT_EQ(header.xstate_bv & ~7ULL, 0u);
    ASSERT_EQ(header.xcomp_bv | header.reserved[0], 0u);
  }
  EXPECT_GT(accepted, 1000u);
  EXPECT_GT(refused, 500u);
}

}  // namespace
}  // namespace hpcvmm::sys
