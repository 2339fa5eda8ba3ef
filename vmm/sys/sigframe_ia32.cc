// sigframe and rt_sigframe of IA32.
#include <cstddef>
#include <cstring>

#include "vmm/sys/sigframe_fp.hh"
#include "vmm/sys/sigframe_layout.hh"
#include "vmm/sys/siginfo.hh"

namespace hpcvmm::sys::detail {
namespace {

constexpr std::uint64_t kSaRestorer = 0x04000000;
// Nothing executes these; debuggers know a signal frame by them.
constexpr std::uint8_t kRetcode[8] = {0x58, 0xb8, 119,  0,
                                      0,    0,    0xcd, 0x80};               // pop; mov $sigreturn; int $0x80
constexpr std::uint8_t kRtRetcode[8] = {0xb8, 173, 0, 0, 0, 0xcd, 0x80, 0};  // mov $rt_sigreturn; int $0x80

constexpr std::uint32_t low(std::uint64_t v) { return static_cast<std::uint32_t>(v); }

void save_context(const GuestRegs& r, const Delivery& d, std::uint64_t fpstate, layout::Sigcontext32& sc) {
  sc.gs = r.gs;
  sc.fs = r.fs;
  sc.es = r.es;
  sc.ds = r.ds;
  sc.di = low(r.rdi);
  sc.si = low(r.rsi);
  sc.bp = low(r.rbp);
  sc.sp = low(r.rsp);
  sc.bx = low(r.rbx);
  sc.dx = low(r.rdx);
  sc.cx = low(r.rcx);
  sc.ax = low(r.rax);
  sc.trapno = low(d.trapno);
  sc.err = low(d.error_code);
  sc.ip = low(r.rip);
  sc.cs = r.cs;
  sc.flags = low(r.rflags);
  sc.sp_at_signal = low(r.rsp);
  sc.ss = r.ss;
  sc.fpstate = low(fpstate);
  sc.oldmask = low(d.old_mask);
  sc.cr2 = low(d.cr2);
}

/// A data selector from the frame as the CPU would accept it.  Null ones keep their RPL; GDT entries that are
/// no user segments become null, as after the fault that Linux takes and fixes up.  LDT selectors are left
/// alone.
std::uint16_t data_selector(std::uint32_t raw) {
  const auto selector = static_cast<std::uint16_t>(raw);
  if (selector <= 3) return selector;
  const auto wanted = static_cast<std::uint16_t>(selector | 3);
  if ((wanted & 4) != 0) return wanted;
  const unsigned index = wanted >> 3;
  const bool flat = wanted == kUserDs || wanted == kUserCs32 || wanted == kUserCs64;
  constexpr unsigned kCpuNode = 15;  // GDT_ENTRY_CPUNODE, readable at CPL 3
  const bool readable = flat || (index >= kTlsFirst && index < kTlsFirst + kTlsCount) || index == kCpuNode;
  return readable ? wanted : 0;
}

void restore_context(const layout::Sigcontext32& sc, GuestRegs& r) {
  r.rdi = sc.di;
  r.rsi = sc.si;
  r.rbp = sc.bp;
  r.rsp = sc.sp;
  r.rbx = sc.bx;
  r.rdx = sc.dx;
  r.rcx = sc.cx;
  r.rax = sc.ax;
  r.rip = sc.ip;
  r.cs = static_cast<std::uint16_t>(sc.cs | 3);
  r.ss = static_cast<std::uint16_t>(sc.ss | 3);
  r.rflags = (r.rflags & ~kRestorableFlags) | (sc.flags & kRestorableFlags);
  r.gs = data_selector(sc.gs);
  r.fs = data_selector(sc.fs);
  r.ds = data_selector(sc.ds);
  r.es = data_selector(sc.es);
}

void enter_handler(GuestRegs& regs, const Delivery& d, const Place& place, std::uint64_t edx,
                   std::uint64_t ecx) {
  regs.rsp = place.frame;
  regs.rip = d.handler;
  regs.rax = static_cast<std::uint32_t>(d.signo);  // for -mregparm=3; the stack holds them too
  regs.rdx = edx;
  regs.rcx = ecx;
  regs.rflags &= ~kHandlerClears;
  regs.cs = kUserCs32;
  regs.ss = regs.ds = regs.es = kUserDs;
}

bool push_old(GuestRegs& regs, const FpState& fp, const Delivery& d, const HostGate& gate) {
  Place place{};
  if (!place_frame(regs, fp, d, sizeof(layout::Sigframe32), true, place)) return false;
  layout::Sigframe32 frame{};
  frame.sig = static_cast<std::uint32_t>(d.signo);
  save_context(regs, d, place.fpstate, frame.sc);
  frame.extramask = low(d.old_mask >> 32);
  if ((d.flags & kSaRestorer) != 0) {
    frame.pretcode = low(d.restorer);
  } else {
    const std::uint64_t on_stack = place.frame + offsetof(layout::Sigframe32, retcode);
    frame.pretcode = low(d.vdso_sigreturn != 0 ? d.vdso_sigreturn : on_stack);
  }
  std::memcpy(frame.retcode, kRetcode, sizeof(kRetcode));
  if (!push_fp(regs, fp, place, true, gate) || !gate.copy_out(place.frame, &frame, sizeof(frame)))
    return false;
  enter_handler(regs, d, place, 0, 0);
  return true;
}

bool push_rt(GuestRegs& regs, const FpState& fp, const Delivery& d, const HostGate& gate) {
  Place place{};
  if (!place_frame(regs, fp, d, sizeof(layout::RtSigframe32), true, place)) return false;
  const std::uint64_t info_at = place.frame + offsetof(layout::RtSigframe32, info);
  const std::uint64_t uc_at = place.frame + offsetof(layout::RtSigframe32, uc);
  layout::RtSigframe32 frame{};
  frame.sig = static_cast<std::uint32_t>(d.signo);
  frame.pinfo = low(info_at);
  frame.puc = low(uc_at);
  frame.uc.flags = has_xsave(fp) ? low(layout::kUcFpXstate) : 0;
  frame.uc.stack = {low(d.altstack_sp), d.altstack_flags, low(d.altstack_size)};
  save_context(regs, d, place.fpstate, frame.uc.mcontext);
  frame.uc.sigmask[0] = low(d.old_mask);
  frame.uc.sigmask[1] = low(d.old_mask >> 32);
  frame.pretcode = low((d.flags & kSaRestorer) != 0 ? d.restorer : d.vdso_rt_sigreturn);
  std::memcpy(frame.retcode, kRtRetcode, sizeof(kRtRetcode));
  layout::SigInfo32 info;
  to_compat(d.info, info);
  std::memcpy(frame.info, &info, sizeof(info));
  if (!push_fp(regs, fp, place, true, gate) || !gate.copy_out(place.frame, &frame, sizeof(frame)))
    return false;
  enter_handler(regs, d, place, info_at, uc_at);
  return true;
}

}  // namespace

bool push_ia32(GuestRegs& regs, const FpState& fp, const Delivery& d, const HostGate& gate) {
  return (d.flags & SA_SIGINFO) != 0 ? push_rt(regs, fp, d, gate) : push_old(regs, fp, d, gate);
}

bool pop_ia32(GuestRegs& regs, FpState& fp, std::uint64_t& mask, AltStack& altstack, bool rt,
              const HostGate& gate) {
  if (rt) {
    layout::RtSigframe32 frame{};
    if (!gate.copy_in(&frame, regs.rsp - 4, sizeof(frame)))
      return false;  // the handler's ret popped pretcode
    mask = blockable(frame.uc.sigmask[0] | static_cast<std::uint64_t>(frame.uc.sigmask[1]) << 32);
    restore_context(frame.uc.mcontext, regs);
    if (!pop_fp(fp, frame.uc.mcontext.fpstate, true, gate)) return false;
    // Unlike on x86-64 the alternate stack comes last here: the test is on the stack that is returned to.
    set_altstack(altstack, {frame.uc.stack.sp, frame.uc.stack.size, frame.uc.stack.flags}, regs.rsp);
    return true;
  }
  layout::Sigframe32 frame{};
  if (!gate.copy_in(&frame, regs.rsp - 8, sizeof(frame)))
    return false;  // pretcode and, by __kernel_sigreturn, sig
  mask = blockable(frame.sc.oldmask | static_cast<std::uint64_t>(frame.extramask) << 32);
  restore_context(frame.sc, regs);
  return pop_fp(fp, frame.sc.fpstate, true, gate);
}

}  // namespace hpcvmm::sys::detail
