// Proof, not code: our frame layouts against the kernel's headers.  Compiled with -m64 and with -m32; never
// run. Only kernel headers may be included here: glibc's <signal.h> defines the same names another way.
#include <asm/sigcontext.h>
#include <asm/siginfo.h>
#include <asm/signal.h>
#include <asm/ucontext.h>

#include "vmm/sys/sigframe_layout.hh"
#include "vmm/sys/siginfo_layout.hh"

namespace hpcvmm::sys::layout {

#define SAME(ours, our_field, theirs, their_field) \
  static_assert(offsetof(ours, our_field) == offsetof(theirs, their_field))

static_assert(kXstateMagic1 == FP_XSTATE_MAGIC1 && kXstateMagic2 == FP_XSTATE_MAGIC2);
static_assert(sizeof(FpxSwBytes) == sizeof(_fpx_sw_bytes));
SAME(FpxSwBytes, extended_size, _fpx_sw_bytes, extended_size);
SAME(FpxSwBytes, xfeatures, _fpx_sw_bytes, xfeatures);
SAME(FpxSwBytes, xstate_size, _fpx_sw_bytes, xstate_size);

static_assert(sizeof(Fxsave) == sizeof(_fpstate_64));
SAME(Fxsave, rip, _fpstate_64, rip);
SAME(Fxsave, mxcsr, _fpstate_64, mxcsr);
SAME(Fxsave, st, _fpstate_64, st_space);
SAME(Fxsave, xmm, _fpstate_64, xmm_space);
SAME(Fxsave, sw, _fpstate_64, sw_reserved);
static_assert(sizeof(XstateHeader) == sizeof(_header));

static_assert(sizeof(FsaveHeader) == offsetof(_fpstate_32, _fxsr_env));
SAME(FsaveHeader, tag, _fpstate_32, tag);
SAME(FsaveHeader, datasel, _fpstate_32, datasel);
SAME(FsaveHeader, st, _fpstate_32, _st);
SAME(FsaveHeader, status, _fpstate_32, status);
SAME(FsaveHeader, magic, _fpstate_32, magic);
static_assert(sizeof(Sigframe32::fpstate_unused) == sizeof(_fpstate_32));

static_assert(sizeof(Sigcontext64) == sizeof(sigcontext_64));
SAME(Sigcontext64, di, sigcontext_64, di);
SAME(Sigcontext64, sp, sigcontext_64, sp);
SAME(Sigcontext64, flags, sigcontext_64, flags);
SAME(Sigcontext64, ss, sigcontext_64, ss);
SAME(Sigcontext64, err, sigcontext_64, err);
SAME(Sigcontext64, oldmask, sigcontext_64, oldmask);
SAME(Sigcontext64, fpstate, sigcontext_64, fpstate);

static_assert(sizeof(Sigcontext32) == sizeof(sigcontext_32));
SAME(Sigcontext32, fs, sigcontext_32, fs);
SAME(Sigcontext32, ds, sigcontext_32, ds);
SAME(Sigcontext32, di, sigcontext_32, di);
SAME(Sigcontext32, ax, sigcontext_32, ax);
SAME(Sigcontext32, err, sigcontext_32, err);
SAME(Sigcontext32, cs, sigcontext_32, cs);
SAME(Sigcontext32, sp_at_signal, sigcontext_32, sp_at_signal);
SAME(Sigcontext32, ss, sigcontext_32, ss);
SAME(Sigcontext32, fpstate, sigcontext_32, fpstate);
SAME(Sigcontext32, cr2, sigcontext_32, cr2);

#ifdef __x86_64__
using NativeUcontext = Ucontext64;
using NativeStack = Stack64;
using NativeInfo = SigInfo64;
static_assert(kUcFpXstate == UC_FP_XSTATE && kUcSigcontextSs == UC_SIGCONTEXT_SS);
static_assert(kUcStrictRestoreSs == UC_STRICT_RESTORE_SS);
#else
using NativeUcontext = Ucontext32;
using NativeStack = Stack32;
using NativeInfo = SigInfo32;
#endif
SAME(NativeUcontext, stack, ::ucontext, uc_stack);
SAME(NativeUcontext, mcontext, ::ucontext, uc_mcontext);
SAME(NativeUcontext, sigmask, ::ucontext, uc_sigmask);
SAME(NativeStack, flags, stack_t, ss_flags);
SAME(NativeStack, size, stack_t, ss_size);
static_assert(sizeof(NativeStack) == sizeof(stack_t));

static_assert(sizeof(NativeInfo) == sizeof(siginfo_t));
SAME(NativeInfo, code, siginfo_t, si_code);
SAME(NativeInfo, kill.pid, siginfo_t, si_pid);
SAME(NativeInfo, kill.uid, siginfo_t, si_uid);
SAME(NativeInfo, timer.tid, siginfo_t, si_tid);
SAME(NativeInfo, timer.overrun, siginfo_t, si_overrun);
SAME(NativeInfo, timer.value, siginfo_t, _sifields._timer._sigval);
SAME(NativeInfo, rt.value, siginfo_t, si_value);
SAME(NativeInfo, chld.status, siginfo_t, si_status);
SAME(NativeInfo, chld.utime, siginfo_t, si_utime);
SAME(NativeInfo, chld.stime, siginfo_t, si_stime);
SAME(NativeInfo, fault.addr, siginfo_t, si_addr);
SAME(NativeInfo, fault.lsb, siginfo_t, si_addr_lsb);
SAME(NativeInfo, fault.bnd.lower, siginfo_t, si_lower);
SAME(NativeInfo, fault.bnd.upper, siginfo_t, si_upper);
SAME(NativeInfo, fault.pkey.key, siginfo_t, si_pkey);
SAME(NativeInfo, fault.perf.data, siginfo_t, si_perf_data);
SAME(NativeInfo, fault.perf.type, siginfo_t, si_perf_type);
SAME(NativeInfo, poll.band, siginfo_t, si_band);
SAME(NativeInfo, poll.fd, siginfo_t, si_fd);
SAME(NativeInfo, sys.call_addr, siginfo_t, si_call_addr);
SAME(NativeInfo, sys.syscall, siginfo_t, si_syscall);
SAME(NativeInfo, sys.arch, siginfo_t, si_arch);

}  // namespace hpcvmm::sys::layout
