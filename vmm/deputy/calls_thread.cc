// Birth and death of threads and processes.
#include <linux/sched.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>

#include "vmm/deputy/accounts.hh"
#include "vmm/deputy/calls.hh"
#include "vmm/deputy/cluster_view.hh"
#include "vmm/deputy/debug.hh"
#include "vmm/deputy/exit_words.hh"
#include "vmm/deputy/fork_locks.hh"
#include "vmm/deputy/gate.hh"
#include "vmm/deputy/home.hh"
#include "vmm/deputy/host.hh"
#include "vmm/deputy/low_memory.hh"
#include "vmm/deputy/numbers.hh"
#include "vmm/deputy/signals.hh"
#include "vmm/deputy/stacks.hh"
#include "vmm/engine/direct/direct.hh"
#include "vmm/mem/user_copy.hh"

extern "C" void* _dl_allocate_tls(void* block);  // NOLINT: libc.a's own, see make_thread_area
extern "C" std::int64_t hpcvmm_clone_vm(const void* args, std::size_t bytes, void (*start)(void*), void* arg);

namespace hpcvmm::deputy {

using sys::SysRet;

namespace {

/// struct clone_args of clone3(2), first version and later fields.
struct CloneArgs {
  std::uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
  std::uint64_t set_tid, set_tid_size, cgroup;
};
constexpr std::uint64_t kArgsVersion0 = 64;

/// What the IA32 kernel calls a user_desc.  Source: asm/ldt.h.
struct UserDesc {
  std::uint32_t entry, base, limit, bits;
};

/// The descriptor set_thread_area(2) makes of a user_desc.  Source: Linux fill_ldt(),
/// arch/x86/include/asm/desc.h.
std::uint64_t descriptor_of(const UserDesc& u) {
  const bool seg32 = (u.bits & 1) != 0;
  const std::uint32_t contents = u.bits >> 1 & 3;
  const bool read_exec_only = (u.bits >> 3 & 1) != 0;
  const bool limit_in_pages = (u.bits >> 4 & 1) != 0;
  const bool not_present = (u.bits >> 5 & 1) != 0;
  const bool useable = (u.bits >> 6 & 1) != 0;
  const bool empty = u.base == 0 && u.limit == 0 && contents == 0 && read_exec_only && !seg32 &&
                     !limit_in_pages && not_present && !useable;
  const bool zero = u.base == 0 && u.limit == 0 && u.bits == 0;
  if (empty || zero) return 0;
  std::uint64_t type = (read_exec_only ? 0U : 2U) | contents << 2 | 1U;
  std::uint64_t d = (u.limit & 0xffffU) | (std::uint64_t{u.base & 0xffffU} << 16) |
                    (std::uint64_t{u.base >> 16 & 0xffU} << 32) | (std::uint64_t{u.base >> 24} << 56);
  d |= type << 40 | std::uint64_t{1} << 44 | std::uint64_t{3} << 45;
  if (!not_present) d |= std::uint64_t{1} << 47;
  d |= std::uint64_t{u.limit >> 16 & 0xfU} << 48;
  if (useable) d |= std::uint64_t{1} << 52;
  if (seg32) d |= std::uint64_t{1} << 54;
  if (limit_in_pages) d |= std::uint64_t{1} << 55;
  return d;
}

UserDesc user_desc_of(std::uint64_t d, std::uint32_t entry) {
  UserDesc u{};
  u.entry = entry;
  u.base = static_cast<std::uint32_t>((d >> 16 & 0xffffff) | (d >> 56 << 24));
  u.limit = static_cast<std::uint32_t>((d & 0xffff) | (d >> 48 & 0xf) << 16);
  const auto bit = [d](unsigned n) { return static_cast<std::uint32_t>(d >> n & 1); };
  u.bits = bit(54) | static_cast<std::uint32_t>(d >> 42 & 3) << 1 | (bit(41) ^ 1U) << 3 | bit(55) << 4 |
           (bit(47) ^ 1U) << 5 | bit(52) << 6;
  return u;
}

/// Where an IA32 thread's TLS area is: loads entry and base into the vCPU.  Returns 0 or an errno.
int set_tls_area(engine::Vcpu& v, std::uint64_t at, bool pick_free) {
  UserDesc u{};
  if (!mem::get(u, at)) return EFAULT;
  if (u.entry == 0xffff'ffff) {
    if (!pick_free) return EINVAL;
    for (unsigned i = 0; i < kTlsCount && u.entry == 0xffff'ffff; ++i)
      if (v.get_tls(i) == 0) u.entry = kTlsFirst + i;
    if (u.entry == 0xffff'ffff) return ESRCH;
    if (!mem::put(at, u.entry)) return EFAULT;
  }
  if (u.entry < kTlsFirst || u.entry >= kTlsFirst + kTlsCount) return EINVAL;
  const std::uint64_t d = descriptor_of(u);
  v.set_tls(u.entry - kTlsFirst, d);
  // A selector that is loaded already keeps its old base in the CPU; Linux reloads those of the calling
  // thread.
  GuestRegs& r = v.regs();
  if (r.fs >> 3 == u.entry) r.fs_base = u.base;
  if (r.gs >> 3 == u.entry) r.gs_base = u.base;
  return 0;
}

void drop_task(Task& t) {
  if (t.debug != nullptr) debug_detach(t);
  const mem::LockGuard guard(t.process->lock);
  std::erase(t.process->tasks, &t);
  Counters& e = t.process->ended;
  e.syscalls += t.count.syscalls;
  e.exits += t.count.exits;
  e.faults += t.count.faults;
  e.signals += t.count.signals;
}

struct ThreadStart {
  Task* task;
  std::uint64_t flags, child_tid, parent_tid, mask;
  const gdb::Thread* debug;  // the creator's; nullptr: not debugged
  std::atomic<std::uint32_t> tid{0};
};

void wake(std::atomic<std::uint32_t>& flag) { raw_call(SYS_futex, word(&flag), 129 /* WAKE_PRIVATE */, 1); }
void wait_nonzero(std::atomic<std::uint32_t>& flag) {
  while (flag.load(std::memory_order_acquire) == 0)
    raw_call(SYS_futex, word(&flag), 128 /* WAIT_PRIVATE */, 0);
}

/// First function of a guest thread's host thread.  Everything is blocked.
void* thread_main(void* arg) {
  auto* start = static_cast<ThreadStart*>(arg);
  Task* const t = start->task;
  set_self(t);
  t->tid = static_cast<int>(raw_call(SYS_gettid));
  const bool direct = t->process->engine_kind == engine::Kind::Direct;
  if (direct) static_cast<void>(engine::direct_thread_attach());
  const std::uint64_t flags = start->flags;
  const std::uint64_t mask = start->mask;
  // The kernel's own bookkeeping, at the guest's addresses: cleared and woken when this host thread ends.
  t->clear_tid = (flags & CLONE_CHILD_CLEARTID) != 0 ? start->child_tid : 0;
  raw_call(SYS_set_tid_address, t->clear_tid);
  raw_call(SYS_set_robust_list, 0, 24);
  // By the child, before it runs: written later it could undo the clearing at the end of a short thread, as
  // both words may be one.
  if ((flags & CLONE_PARENT_SETTID) != 0) static_cast<void>(mem::put(start->parent_tid, t->tid));
  if ((flags & CLONE_CHILD_SETTID) != 0) static_cast<void>(mem::put(start->child_tid, t->tid));
  std::uint64_t unshared = 0;
  if ((flags & CLONE_FS) == 0) unshared |= CLONE_FS;
  if ((flags & CLONE_FILES) == 0) unshared |= CLONE_FILES;
  if (unshared != 0) raw_call(SYS_unshare, unshared);
  if (start->debug != nullptr) debug_attach(*t, *start->debug);
  start->tid.store(static_cast<std::uint32_t>(t->tid), std::memory_order_release);
  wake(start->tid);  // `start` may be gone from here on
  set_guest_mask(*t, mask);
  run_task(*t);
  void* const stack = t->stack;
  const int tid = t->tid;
  delete t;
  if (direct) engine::direct_thread_detach();
  // Used again only once the kernel knows no thread `tid` any more.
  give_stack(stack, tid);
  return nullptr;
}

SysRet spawn_thread(Task& t, const CloneArgs& a, std::unique_ptr<Task> fresh, std::uint64_t mask) {
  Stack stack = take_stack();
  if (stack.base == nullptr) return SysRet::fail(EAGAIN);
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  pthread_attr_setstack(&attr, stack.base, stack.bytes);
  pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  fresh->stack = stack.base;
  ThreadStart start{fresh.get(), a.flags, a.child_tid, a.parent_tid, mask, t.debug.get()};
  {
    const mem::LockGuard guard(t.process->lock);
    t.process->tasks.push_back(fresh.get());
  }
  pthread_t thread{};
  const int rc = pthread_create(&thread, &attr, thread_main, &start);
  pthread_attr_destroy(&attr);
  static bool libc_handler_seen =
      false;  // under no lock: the first thread is created by a process that has only one
  if (!libc_handler_seen) {
    libc_handler_seen = true;
    reinstall(*t.process->signals, 33);
  }
  if (rc != 0) {
    drop_task(*fresh);
    give_stack(stack.base, 0);
    return SysRet::fail(EAGAIN);
  }
  static_cast<void>(fresh.release());  // the thread owns itself: ended in call_exit
  wait_nonzero(start.tid);
  const std::uint32_t tid = start.tid.load();
  return SysRet::ok(tid);
}

/// Registers of a new task: the caller's, with rax 0 and its own stack and TLS.
void set_child_registers(engine::Vcpu& v, const GuestRegs& parent, const CloneArgs& a, Abi abi) {
  GuestRegs& r = v.regs();
  r = parent;
  r.rax = 0;
  if (a.stack != 0) r.rsp = a.stack + a.stack_size;
  if ((a.flags & CLONE_SETTLS) == 0) return;
  if (abi == Abi::X64) {
    r.fs_base = a.tls;
  } else {
    static_cast<void>(set_tls_area(v, a.tls, false));
  }
}

void copy_vcpu_state(engine::Vcpu& to, engine::Vcpu& from) {
  FpState fp;
  from.get_fp(fp);
  to.set_fp(fp);
  for (unsigned i = 0; i < kTlsCount; ++i) to.set_tls(i, from.get_tls(i));
}

SysRet clone_thread(Task& t, const CloneArgs& a, Abi abi) {
  constexpr std::uint64_t kNeeded = CLONE_VM | CLONE_SIGHAND;
  if ((a.flags & kNeeded) != kNeeded) return SysRet::fail(EINVAL);
  auto fresh = std::make_unique<Task>();
  {
    const mem::LockGuard guard(t.process->mm->lock());
    auto vcpu = t.process->mm->engine().make_vcpu();
    if (!vcpu) return SysRet::fail(vcpu.error().code == ENOMEM ? ENOMEM : EAGAIN);
    fresh->owned_vcpu = *std::move(vcpu);
  }
  fresh->vcpu = fresh->owned_vcpu.get();
  fresh->process = t.process;
  fresh->affinity = copy_affinity(t);
  copy_vcpu_state(*fresh->vcpu, *t.vcpu);
  set_child_registers(*fresh->vcpu, t.vcpu->regs(), a, abi);
  std::uint64_t mask = 0;
  if (!block_all(t, mask)) {
    const mem::LockGuard guard(t.process->mm->lock());
    t.process->mm->engine().recycle(std::move(fresh->owned_vcpu));
    return SysRet::restart();
  }
  const SysRet rc = spawn_thread(t, a, std::move(fresh), mask);
  set_guest_mask(t, mask);
  return rc;
}

/// In the child of a fork: a process with one thread, its own VM.
void become_child(Task& t, const CloneArgs& a, std::uint64_t mask, Abi abi) {
  Process& p = *t.process;
  t.tid = static_cast<int>(raw_call(SYS_gettid));
  p.tasks = {&t};
  p.ended = {};
  t.count = {};
  t.used_before_exec = t.used_before = {};
  t.clear_tid = (a.flags & CLONE_CHILD_CLEARTID) != 0 ? a.child_tid : 0;
  t.robust = {};  // as the kernel does in copy_process()
  free_locks_of_libc();
  forget_guest_numbers();
  forget_low();
  unlock_after_fork(t);
  accounts_of_fork_child();
  if (t.debug != nullptr) debug_after_fork_child(t);
  if (auto ok = p.mm->engine().after_fork(*t.vcpu); !ok) {
    say("hpc-vmm: no micro-VM for forked pid %d: %s: errno %d; ending it\n", t.tid, ok.error().op,
        ok.error().code);
    raw_call(SYS_kill, static_cast<std::uint64_t>(t.tid), SIGKILL);
  }
  const GuestRegs parent = t.vcpu->regs();
  set_child_registers(*t.vcpu, parent, a, abi);
  keep_registers(t);
  home_of(t).start_child();
  tell_affinity(t);
  set_guest_mask(t, mask);
}

SysRet clone_process(Task& t, const CloneArgs& a, Abi abi) {
  // Fork copies this node's page tables, so every page has to be here.
  const AtHome here(t);
  std::uint64_t mask = 0;
  if (!block_all(t, mask)) return SysRet::restart();
  CloneArgs host = a;
  // Stack and TLS are the guest's business; the tid words lie at the same addresses in the child.
  host.flags &= ~std::uint64_t{CLONE_SETTLS | CLONE_VFORK};
  host.stack = host.stack_size = host.tls = 0;
  if (t.debug != nullptr) gdb::before_fork();
  lock_before_fork(t);
  t.process->mm->engine().before_fork(*t.vcpu);
  const std::int64_t rc = raw_call(SYS_clone3, word(&host), sizeof host);
  if (rc == 0) {
    become_child(t, a, mask, abi);
    return SysRet::ok(0);
  }
  unlock_after_fork(t);
  if (t.debug != nullptr) gdb::after_fork(false);
  set_guest_mask(t, mask);
  return SysRet::raw(rc);
}

/// The Process of a child that shares this memory: the same window, its own signal table unless
/// CLONE_SIGHAND.
std::shared_ptr<Process> process_for_child(Task& t, const CloneArgs& a, Task& child) {
  const Process& p = *t.process;
  auto made = std::make_shared<Process>();
  made->mm = p.mm;
  made->options = p.options;
  made->engine_kind = p.engine_kind;
  made->abi = p.abi;
  made->exe = p.exe;
  made->vdso = p.vdso;
  made->vdso_sigreturn = p.vdso_sigreturn;
  made->vdso_rt_sigreturn = p.vdso_rt_sigreturn;
  made->read_implies_exec = p.read_implies_exec;
  made->seccomp = p.seccomp;
  made->nofile_hard = p.nofile_hard;
  made->signals = p.signals;
  if ((a.flags & CLONE_SIGHAND) == 0) {
    made->signals = std::make_shared<SignalTable>();
    const mem::LockGuard guard(p.signals->lock);
    std::copy(std::begin(p.signals->actions), std::end(p.signals->actions),
              std::begin(made->signals->actions));
  }
  made->tasks = {&child};
  return made;
}

struct VforkStart {
  Task* child;
  std::uint64_t mask;
};

[[noreturn]] void vfork_main(void* arg) {
  const VforkStart start = *static_cast<VforkStart*>(arg);
  Task& t = *start.child;
  set_self(&t);
  t.tid = static_cast<int>(raw_call(SYS_gettid));
  if (t.process->engine_kind == engine::Kind::Direct) static_cast<void>(engine::direct_thread_refresh());
  accounts_of_sharing_child(t.tid);
  set_guest_mask(t, start.mask);
  run_task(t);
  __builtin_unreachable();  // call_exit ends the process
}

// The child shares this memory and runs the suspended parent's vCPU, on a VMM stack of its own, until it
// executes a program or ends.
SysRet clone_vfork(Task& t, const CloneArgs& a, Abi abi) {
  const Vfork lives(t);
  std::uint64_t mask = 0;
  if (!block_all(t, mask)) return SysRet::restart();
  Stack stack = take_stack();
  if (stack.base == nullptr) {
    set_guest_mask(t, mask);
    return SysRet::fail(EAGAIN);
  }
  const GuestRegs saved = t.vcpu->regs();
  FpState fp;
  t.vcpu->get_fp(fp);
  std::array<std::uint64_t, kTlsCount> tls{};
  for (unsigned i = 0; i < kTlsCount; ++i) tls[i] = t.vcpu->get_tls(i);
  Task child;
  child.process = process_for_child(t, a, child);
  child.vcpu = t.vcpu;
  child.vfork_child = true;
  child.altstack = t.altstack;
  child.affinity = copy_affinity(t);
  child.used_before = static_cast<migrate::MobileVcpu&>(*t.vcpu).used_away();
  set_child_registers(*t.vcpu, saved, a, abi);
  VforkStart start{&child, mask};
  CloneArgs host = a;
  host.flags = (host.flags & ~std::uint64_t{CLONE_SETTLS}) | CLONE_VFORK;
  host.tls = 0;
  host.stack = word(stack.base);
  host.stack_size = stack.bytes;
  if (t.debug != nullptr) gdb::lift_breakpoints();
  const std::int64_t rc = hpcvmm_clone_vm(
      &host, sizeof host, [](void* p) { vfork_main(p); }, &start);
  set_self(&t);
  if (t.debug != nullptr) gdb::put_back_breakpoints();
  t.vcpu->regs() = saved;
  t.vcpu->set_fp(fp);
  for (unsigned i = 0; i < kTlsCount; ++i) t.vcpu->set_tls(i, tls[i]);
  give_stack(stack.base, 0);
  set_guest_mask(t, mask);
  return SysRet::raw(rc);
}

[[noreturn]] void sharing_main(void* arg) {
  const VforkStart start = *static_cast<VforkStart*>(arg);
  Task& t = *start.child;
  set_self(&t);
  t.tid = static_cast<int>(raw_call(SYS_gettid));
  if (t.process->engine_kind == engine::Kind::Direct) static_cast<void>(engine::direct_thread_attach());
  delete static_cast<VforkStart*>(arg);
  accounts_of_sharing_child(t.tid);
  set_guest_mask(t, start.mask);
  run_task(t);
  __builtin_unreachable();  // call_exit ends the process
}

/// A thread control block of libc for a task that pthread_create does not know.  Source: glibc tls.h,
/// tcbhead_t.
void* make_thread_area() {
  auto* const area = static_cast<std::uint64_t*>(_dl_allocate_tls(nullptr));
  if (area == nullptr) return nullptr;
  area[0] = area[2] = word(area);  // tcb, self
  return area;
}

// CLONE_VM alone: a process of its own that shares this memory and runs at the same time, on a vCPU of the
// same VM. Its stack and libc state stay behind when it ends: nobody is told that it has.
SysRet clone_sharing(Task& t, const CloneArgs& a, Abi abi) {
  auto child = std::make_unique<Task>();
  {
    const mem::LockGuard guard(t.process->mm->lock());
    auto vcpu = t.process->mm->engine().make_vcpu();
    if (!vcpu) return SysRet::fail(EAGAIN);
    child->owned_vcpu = *std::move(vcpu);
  }
  child->vcpu = child->owned_vcpu.get();
  copy_vcpu_state(*child->vcpu, *t.vcpu);
  set_child_registers(*child->vcpu, t.vcpu->regs(), a, abi);
  child->process = process_for_child(t, a, *child);
  child->affinity = copy_affinity(t);
  std::uint64_t mask = 0;
  if (!block_all(t, mask)) {
    const mem::LockGuard guard(t.process->mm->lock());
    t.process->mm->engine().recycle(std::move(child->owned_vcpu));
    return SysRet::restart();
  }
  Stack stack = take_stack();
  void* const area = make_thread_area();
  auto start = std::make_unique<VforkStart>(VforkStart{child.get(), mask});
  CloneArgs host = a;
  host.flags |= CLONE_SETTLS;
  host.tls = word(area);
  host.stack = word(stack.base);
  host.stack_size = stack.bytes;
  std::int64_t rc = -EAGAIN;
  if (stack.base != nullptr && area != nullptr)
    rc = hpcvmm_clone_vm(
        &host, sizeof host, [](void* p) { sharing_main(p); }, start.get());
  if (rc > 0) {
    static_cast<void>(child.release());
    static_cast<void>(start.release());
  } else if (stack.base != nullptr) {
    give_stack(stack.base, 0);
  }
  set_guest_mask(t, mask);
  return SysRet::raw(rc);
}

SysRet do_clone(const CallContext& c, const CloneArgs& a) {
  if (a.stack != 0 && touches_zone(a.stack, a.stack_size)) return SysRet::fail(EFAULT);
  // clone(2) leaves in the words that its flags do not name whatever the registers held.
  const std::pair<std::uint64_t, std::uint64_t> words[] = {
      {a.pidfd, CLONE_PIDFD},
      {a.child_tid, CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID},
      {a.parent_tid, CLONE_PARENT_SETTID}};
  for (const auto& [at, flags] : words)
    if ((a.flags & flags) != 0 && touches_zone(at, 8)) return SysRet::fail(EFAULT);
  if (touches_zone(a.set_tid, 8)) return SysRet::fail(EFAULT);
  if ((a.flags & CLONE_THREAD) != 0) return clone_thread(c.task, a, c.abi);
  if ((a.flags & CLONE_VM) == 0) return clone_process(c.task, a, c.abi);
  if ((a.flags & CLONE_VFORK) == 0) return clone_sharing(c.task, a, c.abi);
  return clone_vfork(c.task, a, c.abi);
}

}  // namespace

SysRet call_fork(const CallContext& c) {
  CloneArgs a{};
  a.exit_signal = SIGCHLD;
  return do_clone(c, a);
}

SysRet call_vfork(const CallContext& c) {
  CloneArgs a{};
  a.flags = CLONE_VM | CLONE_VFORK;
  a.exit_signal = SIGCHLD;
  return do_clone(c, a);
}

SysRet call_clone(const CallContext& c) {
  CloneArgs a{};
  a.flags = (c.arg(0) & 0xffff'ffffU) & ~std::uint64_t{0xff};
  a.exit_signal = c.arg(0) & 0xff;
  a.stack = c.arg(1);
  a.parent_tid = c.arg(2);
  if ((a.flags & CLONE_PIDFD) != 0) {
    if ((a.flags & CLONE_PARENT_SETTID) != 0) return SysRet::fail(EINVAL);
    a.pidfd = a.parent_tid;
  }
  // The word order of the last two differs between the ABIs: the row's names are x86-64's.
  a.child_tid = c.abi == Abi::X64 ? c.arg(3) : c.args[4];
  a.tls = c.abi == Abi::X64 ? c.arg(4) : c.args[3];
  return do_clone(c, a);
}

SysRet call_clone3(const CallContext& c) {
  CloneArgs a{};
  const std::uint64_t bytes = c.arg(1);
  if (bytes < kArgsVersion0) return SysRet::fail(EINVAL);
  if (bytes > sizeof a) return SysRet::fail(E2BIG);
  if (!mem::copy_in(&a, c.arg(0), bytes)) return SysRet::fail(EFAULT);
  if ((a.flags & 0xff) != 0 || (a.stack == 0) != (a.stack_size == 0)) return SysRet::fail(EINVAL);
  return do_clone(c, a);
}

SysRet call_exit(const CallContext& c) {
  Task& t = c.task;
  Process& p = *t.process;
  const std::uint64_t status = c.arg(0);
  bool last = false;
  // The child of a thread's fork is a leader that runs on a thread's stack.
  const bool leader = t.tid == static_cast<int>(raw_call(SYS_getpid));
  {
    const mem::LockGuard guard(p.lock);
    last = p.tasks.size() <= 1;
  }
  if (last || t.vfork_child) {
    end_summary(t, static_cast<int>(status & 0xff), 0);
    if (!t.vfork_child) home_of(t).tell_end();
    // Not exit(2): KVM keeps a worker thread in the process (Linux 6.13 and later), which would go on alone.
    // The status of the last thread is the process's, as in Linux since 5.18 (synchronize_group_exit).
    raw_call(SYS_exit_group, status);
  }
  std::uint64_t mask = 0;
  if (!block_all(t, mask)) return SysRet::restart();
  drop_task(t);
  // Before the vCPU goes: a move counts on threads without one not to touch guest memory.
  if (home_of(t).joined()) finish_exit_words(t);
  {
    const mem::LockGuard guard(p.mm->lock());
    if (t.owned_vcpu != nullptr) p.mm->engine().recycle(std::move(t.owned_vcpu));
  }
  set_self(nullptr);
  t.ended = true;
  keep_registers(t);
  // The leader's host thread has no thread_main to return to.
  if (leader) raw_call(SYS_exit, status);
  return SysRet::ok();
}

SysRet call_set_tid_address(const CallContext& c) {
  // Linux takes any address and writes there when the thread ends, if it can.  In the zone it could.
  const std::uint64_t at = touches_zone(c.arg(0), 4) ? 0 : c.arg(0);
  c.task.clear_tid = at;
  return gate64(SYS_set_tid_address, {at, 0, 0, 0, 0, 0});
}

SysRet call_set_robust_list(const CallContext& c) {
  const SysRet rc = pass(c);
  if (!rc.is_error() && !rc.is_restart()) c.task.robust = {c.arg(0), c.abi};
  return rc;
}

SysRet call_futex(const CallContext& c) {
  const std::uint64_t op = c.arg(1);
  const std::uint64_t what = op & FUTEX_CMD_MASK;
  const bool waits = what == FUTEX_WAIT || what == FUTEX_WAIT_BITSET;
  if (!waits || (op & FUTEX_PRIVATE_FLAG) == 0) return pass(c);
  const WaitAtHome guard(c.task);
  return pass(c);
}

/// futex_wait(2) and futex_waitv(2).
SysRet call_futex_new(const CallContext& c) {
  const WaitAtHome guard(c.task);
  return pass(c);
}

SysRet call_exit_group(const CallContext& c) {
  end_summary(c.task, c.as_int(0) & 0xff, 0);
  if (c.task.debug != nullptr) debug_end(c.task, c.as_int(0) & 0xff, 0);
  if (!c.task.vfork_child) home_of(c.task).tell_end();
  raw_call(SYS_exit_group, c.arg(0));
  __builtin_unreachable();
}

SysRet call_arch_prctl(const CallContext& c) {
  constexpr int kSetGs = 0x1001, kSetFs = 0x1002, kGetFs = 0x1003, kGetGs = 0x1004;
  constexpr int kGetCpuid = 0x1011, kSetCpuid = 0x1012;
  GuestRegs& r = c.task.vcpu->regs();
  const std::uint64_t value = c.arg(1);
  const int code = c.as_int(0);
  if (code == kGetCpuid) return SysRet::ok(1);
  if (code == kSetCpuid) return SysRet::fail(value != 0 ? 0 : ENODEV);
  if (c.abi == Abi::Ia32) return SysRet::fail(EINVAL);
  switch (code) {
    case kSetFs:
    case kSetGs:
      if (value >= kTaskSize64) return SysRet::fail(EPERM);
      (code == kSetFs ? r.fs_base : r.gs_base) = value;
      (code == kSetFs ? r.fs : r.gs) = 0;
      return SysRet::ok();
    case kGetFs: return mem::put(value, r.fs_base) ? SysRet::ok() : SysRet::fail(EFAULT);
    case kGetGs: return mem::put(value, r.gs_base) ? SysRet::ok() : SysRet::fail(EFAULT);
    default: return SysRet::fail(EINVAL);
  }
}

SysRet call_set_thread_area(const CallContext& c) {
  const int e = set_tls_area(*c.task.vcpu, c.arg(0), true);
  return e == 0 ? SysRet::ok() : SysRet::fail(e);
}

SysRet call_get_thread_area(const CallContext& c) {
  std::uint32_t entry = 0;
  if (!mem::get(entry, c.arg(0))) return SysRet::fail(EFAULT);
  if (entry < kTlsFirst || entry >= kTlsFirst + kTlsCount) return SysRet::fail(EINVAL);
  const UserDesc u = user_desc_of(c.task.vcpu->get_tls(entry - kTlsFirst), entry);
  return mem::put(c.arg(0), u) ? SysRet::ok() : SysRet::fail(EFAULT);
}

}  // namespace hpcvmm::deputy
