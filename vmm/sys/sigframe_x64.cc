// rt_sigframe of x86-64.
#include <cstddef>
#include <cstring>

#include "vmm/sys/sigframe_fp.hh"
#include "vmm/sys/sigframe_layout.hh"
#include "vmm/sys/siginfo.hh"

namespace hpcvmm::sys::detail {
namespace {

constexpr std::uint64_t kSaRestorer = 0x04000000;

void save_context(const GuestRegs& r, const Delivery& d, std::uint64_t fpstate, layout::Sigcontext64& sc) {
  sc.r8 = r.r8;
  sc.r9 = r.r9;
  sc.r10 = r.r10;
  sc.r11 = r.r11;
  sc.r12 = r.r12;
  sc.r13 = r.r13;
  sc.r14 = r.r14;
  sc.r15 = r.r15;
  sc.di = r.rdi;
  sc.si = r.rsi;
  sc.bp = r.rbp;
  sc.bx = r.rbx;
  sc.dx = r.rdx;
  sc.ax = r.rax;
  sc.cx = r.rcx;
  sc.sp = r.rsp;
  sc.ip = r.rip;
  sc.flags = r.rflags;
  sc.cs = r.cs;
  sc.ss = r.ss;  // fs and gs stay 0: Linux has not saved them since 2.5.64
  sc.err = d.error_code;
  sc.trapno = d.trapno;
  sc.oldmask = d.old_mask;
  sc.cr2 = d.cr2;
  sc.fpstate = fpstate;
}

void restore_context(const layout::Sigcontext64& sc, std::uint64_t uc_flags, GuestRegs& r) {
  r.r8 = sc.r8;
  r.r9 = sc.r9;
  r.r10 = sc.r10;
  r.r11 = sc.r11;
  r.r12 = sc.r12;
  r.r13 = sc.r13;
  r.r14 = sc.r14;
  r.r15 = sc.r15;
  r.rdi = sc.di;
  r.rsi = sc.si;
  r.rbp = sc.bp;
  r.rbx = sc.bx;
  r.rdx = sc.dx;
  r.rax = sc.ax;
  r.rcx = sc.cx;
  r.rsp = sc.sp;
  r.rip = sc.ip;
  r.rflags = (r.rflags & ~kRestorableFlags) | (sc.flags & kRestorableFlags);
  r.cs = sc.cs | 3;
  r.ss = sc.ss | 3;
  // Programs older than uc_flags bit 2 leave rubbish in the ss slot.  Linux asks the CPU (LAR) whether the
  // selector is a writable data segment; a guest's only such one that matters to 64-bit code is the flat one.
  if ((uc_flags & layout::kUcStrictRestoreSs) == 0 && r.cs == kUserCs64) r.ss = kUserDs;
}

}  // namespace

bool push_x64(GuestRegs& regs, const FpState& fp, const Delivery& d, const HostGate& gate) {
  if ((d.flags & kSaRestorer) == 0) return false;  // x86-64 has no other way back
  Place place{};
  if (!place_frame(regs, fp, d, sizeof(layout::RtSigframe64), false, place)) return false;

  layout::RtSigframe64 frame{};
  frame.pretcode = d.restorer;
  frame.uc.flags = layout::kUcSigcontextSs | (has_xsave(fp) ? layout::kUcFpXstate : 0);
  if (regs.cs == kUserCs64) frame.uc.flags |= layout::kUcStrictRestoreSs;
  frame.uc.stack = {d.altstack_sp, d.altstack_flags, 0, d.altstack_size};
  save_context(regs, d, place.fpstate, frame.uc.mcontext);
  frame.uc.sigmask = d.old_mask;
  std::size_t bytes = offsetof(layout::RtSigframe64, info);
  if ((d.flags & SA_SIGINFO) != 0) {
    layout::SigInfo64 info;
    to_native(d.info, info);
    std::memcpy(frame.info, &info, sizeof(info));
    bytes = sizeof(frame);
  }
  if (!push_fp(regs, fp, place, false, gate) || !gate.copy_out(place.frame, &frame, bytes)) return false;

  regs.rdi = static_cast<std::uint32_t>(d.signo);
  regs.rax = 0;
  regs.rsi = place.frame + offsetof(layout::RtSigframe64, info);
  regs.rdx = place.frame + offsetof(layout::RtSigframe64, uc);
  regs.rip = d.handler;
  regs.rsp = place.frame;
  regs.rflags &= ~kHandlerClears;
  regs.cs = kUserCs64;
  regs.ss = kUserDs;
  return true;
}

bool pop_x64(GuestRegs& regs, FpState& fp, std::uint64_t& mask, AltStack& altstack, const HostGate& gate) {
  // The restorer address has been popped by the handler's ret.  Linux reads no siginfo, so none need be
  // there.
  layout::Ucontext64 uc{};
  if (!gate.copy_in(&uc, regs.rsp, sizeof(uc))) return false;
  mask = blockable(uc.sigmask);
  // Linux 6.12 and later set the alternate stack while still on the handler's; errors are ignored.
  set_altstack(altstack, {uc.stack.sp, uc.stack.size, uc.stack.flags}, regs.rsp);
  restore_context(uc.mcontext, uc.flags, regs);
  return pop_fp(fp, uc.mcontext.fpstate, false, gate);
}

}  // namespace hpcvmm::sys::detail
