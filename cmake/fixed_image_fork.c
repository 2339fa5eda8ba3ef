/* GoogleTest's death tests (not used) bring glibc's fork(), which calls these where the program has them.  A
 * weak undefined symbol cannot be reached from the image's address, so they are here, empty; the VMM has no
 * fork(). */
#define WEAK __attribute__((weak))

WEAK void __mq_notify_fork_subprocess(void);
WEAK void __timer_fork_subprocess(void);
WEAK void __malloc_fork_lock_parent(void);
WEAK void __malloc_fork_unlock_parent(void);
WEAK void __malloc_fork_unlock_child(void);

void __mq_notify_fork_subprocess(void) {}
void __timer_fork_subprocess(void) {}
void __malloc_fork_lock_parent(void) {}
void __malloc_fork_unlock_parent(void) {}
void __malloc_fork_unlock_child(void) {}
