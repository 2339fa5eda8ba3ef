#include "vmm/engine/direct/thread.hh"

#include <asm/prctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <atomic>

#include "hpcvmm/base/layout.hh"

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#define PR_SYS_DISPATCH_ON 1
#endif

namespace hpcvmm::engine::direct {

extern "C" {
std::uint8_t direct_have_fsgsbase = 0;
}

namespace {

static_assert(kZoneBegin >> HPCVMM_ZONE_SHIFT == HPCVMM_ZONE_TOP &&
              kZoneEnd - kZoneBegin == std::uint64_t{1} << HPCVMM_ZONE_SHIFT);
static_assert(kArenaBegin >> HPCVMM_ARENA_SHIFT == HPCVMM_ARENA_TOP &&
              kArenaEnd - kArenaBegin == std::uint64_t{1} << HPCVMM_ARENA_SHIFT);
static_assert(sizeof(ThreadBlock) <= kPageSize);

Process the_process;
ThreadBlock* all_blocks = nullptr;
std::atomic_flag blocks_busy = ATOMIC_FLAG_INIT;
thread_local ThreadBlock* t_block = nullptr;

std::uint64_t arch_prctl_get(std::uint64_t what) {
  std::uint64_t base = 0;
  host_call(SYS_arch_prctl, what, word(&base));
  return base;
}

/// A free block of the list, or a new one.  nullptr: the allocator is empty.
ThreadBlock* take_block() {
  while (blocks_busy.test_and_set(std::memory_order_acquire)) host_call(SYS_sched_yield);
  ThreadBlock* block = all_blocks;
  while (block != nullptr && block->in_use) block = block->next;
  if (block == nullptr) {
    auto* base = static_cast<std::byte*>(the_process.alloc(kThreadBytes, kPageSize));
    if (base != nullptr) {
      // Handlers that overflow the stack must hit something; the kernel checks only what it pushes itself.
      host_call(SYS_mprotect, word(base), kPageSize, PROT_NONE);
      block = reinterpret_cast<ThreadBlock*>(base + kThreadBytes - kPageSize);
      block->next = all_blocks;
      all_blocks = block;
    }
  }
  if (block != nullptr) block->in_use = true;
  blocks_busy.clear(std::memory_order_release);
  return block;
}

}  // namespace

Process& process() { return the_process; }
ThreadBlock* this_thread() { return t_block; }

Status arm_dispatch() {
  const std::int64_t r = host_call(SYS_prctl, PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, kZoneBegin,
                                   kZoneEnd - kZoneBegin, 0);
  if (r < 0) return Error::of(static_cast<int>(-r), "PR_SET_SYSCALL_USER_DISPATCH (needs Linux 5.11)");
  return Unit{};
}

void thread_after_fork() {
  blocks_busy.clear(std::memory_order_release);
  for (ThreadBlock* b = all_blocks; b != nullptr; b = b->next) b->in_use = b == t_block;
  if (t_block != nullptr) t_block->held_valid = false;  // pending signals are not inherited
}

std::uint64_t read_fs_base() {
  if (direct_have_fsgsbase == 0) return arch_prctl_get(ARCH_GET_FS);
  std::uint64_t base;
  asm volatile("rdfsbase %0" : "=r"(base));
  return base;
}
std::uint64_t read_gs_base() {
  if (direct_have_fsgsbase == 0) return arch_prctl_get(ARCH_GET_GS);
  std::uint64_t base;
  asm volatile("rdgsbase %0" : "=r"(base));
  return base;
}
void write_gs_base(std::uint64_t base) {
  if (direct_have_fsgsbase == 0) {
    host_call(SYS_arch_prctl, ARCH_SET_GS, base);
  } else {
    asm volatile("wrgsbase %0" : : "r"(base));
  }
}

void requeue(siginfo_t* info) {
  host_call(SYS_rt_tgsigqueueinfo, static_cast<std::uint64_t>(host_call(SYS_getpid)),
            static_cast<std::uint64_t>(host_call(SYS_gettid)), static_cast<std::uint64_t>(info->si_signo),
            word(info));
}

}  // namespace hpcvmm::engine::direct

namespace hpcvmm::engine {

using namespace direct;

Status direct_thread_attach() {
  if (t_block != nullptr) return Unit{};
  ThreadBlock* block = take_block();
  if (block == nullptr) return Error::of(ENOMEM, "direct engine: arena full, no signal stack for a thread");
  block->in_guest = 0;
  block->vmm_fs = read_fs_base();
  block->vcpu = nullptr;
  block->tls_known = false;
  block->held_valid = false;
  block->magic = HPCVMM_BLK_MAGIC_VALUE;

  stack_t stack{};
  stack.ss_sp = reinterpret_cast<std::byte*>(block) - kAltStackBytes;
  stack.ss_size = kAltStackBytes;
  if (const std::int64_t r = host_call(SYS_sigaltstack, word(&stack), 0); r < 0) {
    block->in_use = false;
    return Error::of(static_cast<int>(-r), "sigaltstack");
  }
  t_block = block;
  Status armed = arm_dispatch();
  if (!armed) direct_thread_detach();
  return armed;
}

Status direct_thread_refresh() {
  if (t_block == nullptr) return direct_thread_attach();
  t_block->tls_known = false;
  return arm_dispatch();
}

void direct_thread_detach() {
  if (t_block == nullptr) return;
  stack_t none{};
  none.ss_flags = SS_DISABLE;
  host_call(SYS_sigaltstack, word(&none), 0);
  t_block->in_use = false;
  t_block = nullptr;
}

}  // namespace hpcvmm::engine
