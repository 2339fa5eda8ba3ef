// The deputy's own system calls, by family.  Each is a Handler of dispatch.hh; the manual page of its name
// applies.
#pragma once

#include "vmm/deputy/dispatch.hh"

namespace hpcvmm::deputy {

#define HPCVMM_CALL(name) sys::SysRet call_##name(const CallContext& c)

// calls_memory.cc
HPCVMM_CALL(mmap);
HPCVMM_CALL(old_mmap);
HPCVMM_CALL(mmap2);
HPCVMM_CALL(munmap);
HPCVMM_CALL(mremap);
HPCVMM_CALL(mprotect);
HPCVMM_CALL(pkey_mprotect);
HPCVMM_CALL(brk);
HPCVMM_CALL(madvise);
HPCVMM_CALL(process_madvise);
HPCVMM_CALL(range_only);
HPCVMM_CALL(mlockall);
HPCVMM_CALL(remap_file_pages);
HPCVMM_CALL(shmat);
HPCVMM_CALL(shmdt);
HPCVMM_CALL(process_vm);
// calls_signal.cc
HPCVMM_CALL(rt_sigaction);
HPCVMM_CALL(sigaction);
HPCVMM_CALL(signal);
HPCVMM_CALL(rt_sigprocmask);
HPCVMM_CALL(sigprocmask);
HPCVMM_CALL(sgetmask);
HPCVMM_CALL(ssetmask);
HPCVMM_CALL(rt_sigpending);
HPCVMM_CALL(rt_sigsuspend);
HPCVMM_CALL(sigsuspend);
HPCVMM_CALL(sigaltstack);
HPCVMM_CALL(rt_sigreturn);
HPCVMM_CALL(sigreturn);
HPCVMM_CALL(restart_syscall);
HPCVMM_CALL(ppoll);
HPCVMM_CALL(pselect6);
HPCVMM_CALL(epoll_pwait);
HPCVMM_CALL(old_select);
HPCVMM_CALL(select);
// calls_thread.cc
HPCVMM_CALL(fork);
HPCVMM_CALL(vfork);
HPCVMM_CALL(clone);
HPCVMM_CALL(clone3);
HPCVMM_CALL(set_tid_address);
HPCVMM_CALL(set_robust_list);
HPCVMM_CALL(futex);
HPCVMM_CALL(futex_new);
HPCVMM_CALL(exit);
HPCVMM_CALL(exit_group);
HPCVMM_CALL(arch_prctl);
HPCVMM_CALL(set_thread_area);
HPCVMM_CALL(get_thread_area);
HPCVMM_CALL(prctl);
HPCVMM_CALL(enosys);
HPCVMM_CALL(eperm);
HPCVMM_CALL(seccomp);
HPCVMM_CALL(socketcall);
HPCVMM_CALL(ipc);
// calls_limit.cc
HPCVMM_CALL(getrlimit);
HPCVMM_CALL(setrlimit);
HPCVMM_CALL(prlimit64);
// calls_times.cc
HPCVMM_CALL(getrusage);
HPCVMM_CALL(times);
HPCVMM_CALL(clock_gettime);
HPCVMM_CALL(wait4);
HPCVMM_CALL(waitid);
// calls_view.cc
HPCVMM_CALL(sched_getaffinity);
HPCVMM_CALL(sched_setaffinity);
HPCVMM_CALL(getcpu);
HPCVMM_CALL(sysinfo);
// calls_exec.cc
HPCVMM_CALL(execve);
HPCVMM_CALL(execveat);
// calls_fd.cc
HPCVMM_CALL(close);
HPCVMM_CALL(close_range);
HPCVMM_CALL(dup2);
HPCVMM_CALL(dup3);
HPCVMM_CALL(getdents);
HPCVMM_CALL(getdents64);
// calls_path.cc
HPCVMM_CALL(open);
HPCVMM_CALL(openat);
HPCVMM_CALL(openat2);
HPCVMM_CALL(readlink);
HPCVMM_CALL(readlinkat);
HPCVMM_CALL(path_first);
HPCVMM_CALL(path_second);
HPCVMM_CALL(chdir);
HPCVMM_CALL(path_xattr);
HPCVMM_CALL(getcwd);

#undef HPCVMM_CALL

}  // namespace hpcvmm::deputy
