#include "vmm/engine/direct/engine.hh"

#include <sys/auxv.h>
#include <sys/syscall.h>

#include <new>

#include "vmm/engine/direct/direct.hh"
#include "vmm/engine/direct/ia32.hh"

#ifndef HWCAP2_FSGSBASE
#define HWCAP2_FSGSBASE (1 << 1)
#endif

namespace hpcvmm::engine::direct {
namespace {

Error probed_error;
bool probed = false;

/// Reads the FP layout out of the frame of a signal the engine sends to itself.
void probe_handler(int, siginfo_t*, void* ucontext) {
  const auto* uc = static_cast<const KernelUcontext*>(ucontext);
  auto layout = fp_layout_of(uc->mc.fpstate, (uc->flags & kUcFpXstate) != 0);
  probed = static_cast<bool>(layout);
  if (layout) {
    process().fp = *layout;
  } else {
    probed_error = layout.error();
  }
}

Status probe_fp_layout() {
  HPCVMM_CHECK_OK(set_entry(SIGSYS, 0, probe_handler));
  const KernelSigset sigsys = sig_bit(SIGSYS);
  KernelSigset old = 0;
  host_call(SYS_rt_sigprocmask, SIG_UNBLOCK, word(&sigsys), word(&old), sizeof old);
  siginfo_t info{};
  info.si_signo = SIGSYS;
  info.si_code = SI_QUEUE;
  probed = false;
  probed_error = Error::of(EIO, "direct engine: no signal frame to look at");
  requeue(&info);
  set_mask(old);
  if (!probed) return probed_error;
  return Unit{};
}

}  // namespace

void DirectEngine::lock() {
  while (busy_.test_and_set(std::memory_order_acquire)) host_call(SYS_sched_yield);
}

DirectEngine::~DirectEngine() {
  idle_.clear();
  process().engine_exists = false;
}

Result<std::unique_ptr<Vcpu>> DirectEngine::make_vcpu() {
  lock();
  std::unique_ptr<Vcpu> vcpu;
  GuestFrame* frame = nullptr;
  if (!idle_.empty()) {
    vcpu = std::move(idle_.back());
    idle_.pop_back();
  } else if (!frames_.empty()) {
    frame = frames_.back();
    frames_.pop_back();
  }
  unlock();
  if (vcpu != nullptr) {
    static_cast<DirectVcpu&>(*vcpu).reset();
    return vcpu;
  }
  if (frame == nullptr) {
    void* memory = process().alloc(sizeof(GuestFrame), alignof(GuestFrame));
    if (memory == nullptr) return Error::of(EAGAIN, "direct engine: arena full, no vCPU state");
    frame = new (memory) GuestFrame;
  }
  return std::unique_ptr<Vcpu>(new DirectVcpu(*this, *frame));
}

void DirectEngine::recycle(std::unique_ptr<Vcpu> vcpu) {
  lock();
  idle_.push_back(std::move(vcpu));
  unlock();
}

void DirectEngine::free_frame(GuestFrame& frame) {
  lock();
  frames_.push_back(&frame);
  unlock();
}

// The guest uses the process's own page tables: there is nothing to forget and nothing to make.
void DirectEngine::unmap(std::uint64_t, std::uint64_t) {}
Status DirectEngine::map_around(std::uint64_t, std::uint64_t, std::uint64_t, Prot) { return Unit{}; }

Status DirectEngine::after_fork(Vcpu&) {
  // Alternate stack, TLS descriptors, block and vCPU came with the copy of the memory; the dispatch did not.
  unlock();
  ia32_after_fork();
  thread_after_fork();
  return arm_dispatch();
}

}  // namespace hpcvmm::engine::direct

namespace hpcvmm::engine {

Result<std::unique_ptr<Engine>> make_direct_engine(const DirectConfig& config) {
  using namespace direct;
  if (config.alloc == nullptr) return Error::of(EINVAL, "direct engine: no allocator");
  if (process().engine_exists) return Error::of(EBUSY, "direct engine: one per process");
  if (config.ia32 && !supports_ia32()) {
    return Error::of(
        EOPNOTSUPP,
        "direct engine: no IA32 emulation in this kernel (CONFIG_IA32_EMULATION, ia32_emulation=)");
  }
  process().alloc = config.alloc;
  direct_have_fsgsbase = (getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE) != 0 ? 1 : 0;
  HPCVMM_CHECK_OK(probe_fp_layout());
  HPCVMM_CHECK_OK(direct_thread_attach());
  for (const int signo : {SIGSYS, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP}) {
    HPCVMM_CHECK_OK(set_entry(signo, 0, nullptr));
  }
  process().engine_exists = true;
  return std::unique_ptr<Engine>(new DirectEngine);
}

}  // namespace hpcvmm::engine
