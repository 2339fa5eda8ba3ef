#include "vmm/sys/sigframe.hh"

#include <cerrno>

#include "vmm/sys/sigframe_fp.hh"

namespace hpcvmm::sys {
namespace {

constexpr std::uint32_t kAutodisarm = 1u << 31;  // SS_AUTODISARM of <linux/signal.h>
constexpr std::uint64_t kMinStackBytes = 2048;   // MINSIGSTKSZ of both ABIs
constexpr std::uint64_t kSaRestorer = 0x04000000;
constexpr std::uint64_t kRedZoneBytes = 128;
constexpr std::uint64_t kFsaveHeaderBytes = 112;
constexpr std::uint64_t kMagic2Bytes = 4;

bool inside(const AltStack& stack, std::uint64_t sp) { return sp > stack.sp && sp - stack.sp <= stack.size; }

}  // namespace

bool on_altstack(const AltStack& stack, std::uint64_t sp) {
  return (stack.flags & kAutodisarm) == 0 && inside(stack, sp);
}

std::uint32_t altstack_report(const AltStack& stack, std::uint64_t sp) {
  const std::uint32_t autodisarm = stack.flags & kAutodisarm;
  if (stack.size == 0) return SS_DISABLE | autodisarm;
  return (on_altstack(stack, sp) ? std::uint32_t{SS_ONSTACK} : 0) | autodisarm;
}

int set_altstack(AltStack& stack, const AltStack& wanted, std::uint64_t sp) {
  if (on_altstack(stack, sp)) return EPERM;
  const std::uint32_t mode = wanted.flags & ~kAutodisarm;
  if (mode != 0 && mode != SS_DISABLE && mode != SS_ONSTACK) return EINVAL;
  if (mode == SS_DISABLE) {
    stack = {0, 0, wanted.flags};
    return 0;
  }
  const bool same = wanted.sp == stack.sp && wanted.size == stack.size && wanted.flags == stack.flags;
  if (!same && wanted.size < kMinStackBytes) return ENOMEM;
  stack = wanted;
  return 0;
}

namespace detail {

bool place_frame(const GuestRegs& regs, const FpState& fp, const Delivery& d, std::uint64_t frame_bytes,
                 bool ia32, Place& place) {
  const AltStack alt{d.altstack_sp, d.altstack_size, d.altstack_flags};
  const bool nested = on_altstack(alt, regs.rsp);
  bool entering = false;
  std::uint64_t sp = ia32 ? regs.rsp : regs.rsp - kRedZoneBytes;
  if ((d.flags & SA_ONSTACK) != 0) {
    // The test uses the stack pointer below the red zone, as Linux's does.
    if (alt.size != 0 && !on_altstack(alt, sp)) {
      sp = alt.sp + alt.size;
      entering = true;
    }
  } else if (ia32 && !nested && regs.ss != kUserDs && (d.flags & kSaRestorer) == 0 && d.restorer != 0) {
    sp = d.restorer;  // the stack switch of Linux 1.x, for programs with a stack segment of their own
    entering = true;
  }

  place.fx = (sp - fp.bytes - (has_xsave(fp) ? kMagic2Bytes : 0)) & ~63ULL;
  place.fpstate = ia32 ? place.fx - kFsaveHeaderBytes : place.fx;
  sp = place.fpstate - frame_bytes;
  // x86-64: rsp % 16 == 8 at the handler, as behind a call.  IA32: (esp + 4) % 16 == 0.
  place.frame = ia32 ? ((sp + 4) & ~15ULL) - 4 : (sp & ~15ULL) - 8;
  return !(nested || entering) || inside(alt, place.frame);
}

}  // namespace detail

bool push_frame(GuestRegs& regs, const FpState& fp, const Delivery& d, bool compat, const HostGate& gate) {
  return compat ? detail::push_ia32(regs, fp, d, gate) : detail::push_x64(regs, fp, d, gate);
}

bool push_frame(GuestRegs& regs, const FpState& fp, const Delivery& d, const HostGate& gate) {
  return push_frame(regs, fp, d, d.action_abi == Abi::Ia32, gate);
}

bool pop_frame(GuestRegs& regs, FpState& fp, std::uint64_t& mask, AltStack& altstack, SigreturnKind kind,
               const HostGate& gate) {
  const bool good = kind == SigreturnKind::Rt64
                        ? detail::pop_x64(regs, fp, mask, altstack, gate)
                        : detail::pop_ia32(regs, fp, mask, altstack, kind == SigreturnKind::Rt32, gate);
  if (!good) init_fp(fp, fp.bytes);
  return good;
}

}  // namespace hpcvmm::sys
