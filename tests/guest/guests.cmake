# The guest tests; hpcvmm_guest() is explained in CMakeLists.txt.
# exec targets of other tests, and tests of their own
hpcvmm_guest(hello EXPECT 42 ARGS first "second argument" "")
hpcvmm_guest(echo_args EXPECT 7 ARGS one)

# start and memory
hpcvmm_guest(auxv)
hpcvmm_guest(vdso)
hpcvmm_guest(stack)
hpcvmm_guest(brk STATIC)
hpcvmm_guest(mmap_place NO_PIE)
hpcvmm_guest(mmap_sparse)
hpcvmm_guest(mremap)
hpcvmm_guest(mprotect)
hpcvmm_guest(madvise STATIC_PIE)
hpcvmm_guest(faults)
hpcvmm_guest(sigbus)
hpcvmm_guest(shm)

# exceptions and signals
hpcvmm_guest(cpu_traps)
hpcvmm_guest(sig_info)
hpcvmm_guest(sig_restart)
hpcvmm_guest(sig_mask)
hpcvmm_guest(sig_wait STATIC)
hpcvmm_guest(sig_jump NO_PIE)
hpcvmm_guest(sig_fpstate LIBS m)
hpcvmm_guest(sig_storm)
hpcvmm_guest(sig_sleep)
hpcvmm_guest(sig_death)
hpcvmm_guest(abort_self EXPECT SIGABRT)
hpcvmm_guest(term_self EXPECT SIGTERM)

# threads
hpcvmm_guest(threads_basic THREADS)
hpcvmm_guest(threads_sync THREADS STATIC)
hpcvmm_guest(threads_signals THREADS)
hpcvmm_guest(threads_many THREADS)
hpcvmm_guest(threads_ends THREADS)
hpcvmm_guest(futex THREADS)
hpcvmm_guest(clone_tid)

# processes
hpcvmm_guest(fork_tree)
hpcvmm_guest(vfork)
hpcvmm_guest(spawn)
hpcvmm_guest(exec_errors)
hpcvmm_guest(exec_cross)
hpcvmm_guest(wait)
hpcvmm_guest(stop_cont THREADS)
hpcvmm_guest(sessions)
hpcvmm_guest(pty LIBS util)

# descriptors and files
hpcvmm_guest(fds)
hpcvmm_guest(poll)
hpcvmm_guest(sockets)
hpcvmm_guest(transfer)
hpcvmm_guest(event_fds)
hpcvmm_guest(locks)
hpcvmm_guest(files)

# the process and its machine
hpcvmm_guest(proc_self THREADS ARGS first "second argument")
hpcvmm_guest(clocks THREADS)
hpcvmm_guest(identity)
hpcvmm_guest(creds THREADS)
hpcvmm_guest(isolate)
hpcvmm_guest(int80 NO32)

# without a library, integers only: the ones that kvm.32 runs where KVM emulates 32-bit code
hpcvmm_guest(bare_hello INTEGER_ONLY EXPECT 42 ARGS one "two words")
hpcvmm_guest(bare_compute INTEGER_ONLY)
hpcvmm_guest(bare_signal INTEGER_ONLY EXPECT SIGSEGV)
hpcvmm_guest(bare_process INTEGER_ONLY)
hpcvmm_guest(bare_thread INTEGER_ONLY)
