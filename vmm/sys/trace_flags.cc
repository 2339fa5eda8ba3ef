// The symbol sets that Flags arguments name.
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/magic.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include <span>

#include "vmm/sys/ioctl.hh"
#include "vmm/sys/trace_print.hh"

namespace hpcvmm::sys {
namespace {

struct Sym {
  std::uint64_t value;
  const char* name;
};
// S(X): the constant by its own name.  Negative constants keep their 32 bits, as the words they are compared
// with.
#define S(x) \
  Sym { static_cast<std::uint32_t>(x), #x }

constexpr Sym kAccMode[] = {S(O_RDONLY), S(O_WRONLY), S(O_RDWR)};
// O_SYNC contains O_DSYNC and O_TMPFILE contains O_DIRECTORY: the larger one first.
constexpr Sym kOpen[] = {S(O_CREAT),
                         S(O_EXCL),
                         S(O_NOCTTY),
                         S(O_TRUNC),
                         S(O_APPEND),
                         S(O_NONBLOCK),
                         S(O_SYNC),
                         S(O_DSYNC),
                         S(O_ASYNC),
                         S(O_DIRECT),
                         Sym{0100000, "O_LARGEFILE"},
                         S(O_NOFOLLOW),
                         S(O_NOATIME),
                         S(O_CLOEXEC),
                         S(O_PATH),
                         S(O_TMPFILE),
                         S(O_DIRECTORY)};
constexpr Sym kFcntl[] = {
    S(F_DUPFD),        S(F_GETFD),        S(F_SETFD),           S(F_GETFL),           S(F_SETFL),
    Sym{5, "F_GETLK"}, Sym{6, "F_SETLK"}, Sym{7, "F_SETLKW"},   S(F_SETOWN),          S(F_GETOWN),
    S(F_SETSIG),       S(F_GETSIG),       Sym{12, "F_GETLK64"}, Sym{13, "F_SETLK64"}, Sym{14, "F_SETLKW64"},
    S(F_SETOWN_EX),    S(F_GETOWN_EX),    S(F_OFD_GETLK),       S(F_OFD_SETLK),       S(F_OFD_SETLKW),
    S(F_SETLEASE),     S(F_GETLEASE),     S(F_NOTIFY),          S(F_DUPFD_CLOEXEC),   S(F_SETPIPE_SZ),
    S(F_GETPIPE_SZ),   S(F_ADD_SEALS),    S(F_GET_SEALS)};
constexpr Sym kFlock[] = {S(LOCK_SH), S(LOCK_EX), S(LOCK_NB), S(LOCK_UN)};
constexpr Sym kSeek[] = {S(SEEK_SET), S(SEEK_CUR), S(SEEK_END), S(SEEK_DATA), S(SEEK_HOLE)};
constexpr Sym kSplice[] = {S(SPLICE_F_MOVE), S(SPLICE_F_NONBLOCK), S(SPLICE_F_MORE), S(SPLICE_F_GIFT)};
constexpr Sym kSyncRange[] = {S(SYNC_FILE_RANGE_WAIT_BEFORE), S(SYNC_FILE_RANGE_WRITE),
                              S(SYNC_FILE_RANGE_WAIT_AFTER)};
constexpr Sym kFadvise[] = {S(POSIX_FADV_NORMAL),   S(POSIX_FADV_RANDOM),   S(POSIX_FADV_SEQUENTIAL),
                            S(POSIX_FADV_WILLNEED), S(POSIX_FADV_DONTNEED), S(POSIX_FADV_NOREUSE)};
constexpr Sym kFalloc[] = {Sym{1, "FALLOC_FL_KEEP_SIZE"},      Sym{2, "FALLOC_FL_PUNCH_HOLE"},
                           Sym{8, "FALLOC_FL_COLLAPSE_RANGE"}, Sym{16, "FALLOC_FL_ZERO_RANGE"},
                           Sym{32, "FALLOC_FL_INSERT_RANGE"},  Sym{64, "FALLOC_FL_UNSHARE_RANGE"}};
constexpr Sym kMemfd[] = {S(MFD_CLOEXEC), S(MFD_ALLOW_SEALING), S(MFD_HUGETLB)};
constexpr Sym kInotify[] = {S(IN_ACCESS),        S(IN_MODIFY),      S(IN_ATTRIB),      S(IN_CLOSE_WRITE),
                            S(IN_CLOSE_NOWRITE), S(IN_OPEN),        S(IN_MOVED_FROM),  S(IN_MOVED_TO),
                            S(IN_CREATE),        S(IN_DELETE),      S(IN_DELETE_SELF), S(IN_MOVE_SELF),
                            S(IN_ONLYDIR),       S(IN_DONT_FOLLOW), S(IN_MASK_ADD),    S(IN_ONESHOT)};
constexpr Sym kAt[] = {S(AT_SYMLINK_NOFOLLOW), S(AT_SYMLINK_FOLLOW),  S(AT_NO_AUTOMOUNT), S(AT_EMPTY_PATH),
                       S(AT_STATX_FORCE_SYNC), S(AT_STATX_DONT_SYNC), S(AT_RECURSIVE)};
constexpr Sym kAtFollow[] = {S(AT_SYMLINK_FOLLOW), S(AT_EMPTY_PATH)};
constexpr Sym kAtRemove[] = {S(AT_REMOVEDIR)};
constexpr Sym kEaccess[] = {S(AT_EACCESS), S(AT_SYMLINK_NOFOLLOW), S(AT_EMPTY_PATH)};
constexpr Sym kStatx[] = {S(STATX_ALL),    S(STATX_BASIC_STATS), S(STATX_TYPE),  S(STATX_MODE),
                          S(STATX_NLINK),  S(STATX_UID),         S(STATX_GID),   S(STATX_ATIME),
                          S(STATX_MTIME),  S(STATX_CTIME),       S(STATX_INO),   S(STATX_SIZE),
                          S(STATX_BLOCKS), S(STATX_BTIME),       S(STATX_MNT_ID)};
constexpr Sym kAccess[] = {S(R_OK), S(W_OK), S(X_OK)};
constexpr Sym kRename[] = {S(RENAME_NOREPLACE), S(RENAME_EXCHANGE), S(RENAME_WHITEOUT)};
constexpr Sym kXattr[] = {S(XATTR_CREATE), S(XATTR_REPLACE)};
constexpr Sym kMount[] = {S(MS_RDONLY),  S(MS_NOSUID), S(MS_NODEV),  S(MS_NOEXEC),  S(MS_REMOUNT),
                          S(MS_NOATIME), S(MS_BIND),   S(MS_MOVE),   S(MS_REC),     S(MS_SILENT),
                          S(MS_PRIVATE), S(MS_SLAVE),  S(MS_SHARED), S(MS_RELATIME)};
constexpr Sym kUmount[] = {S(MNT_FORCE), S(MNT_DETACH), S(MNT_EXPIRE), S(UMOUNT_NOFOLLOW)};
constexpr Sym kEpoll[] = {S(EPOLL_CLOEXEC)};
constexpr Sym kEpollCtl[] = {S(EPOLL_CTL_ADD), S(EPOLL_CTL_DEL), S(EPOLL_CTL_MOD)};
constexpr Sym kEpollEvents[] = {S(EPOLLIN),      S(EPOLLPRI),    S(EPOLLOUT),       S(EPOLLRDNORM),
                                S(EPOLLRDBAND),  S(EPOLLWRNORM), S(EPOLLWRBAND),    S(EPOLLERR),
                                S(EPOLLHUP),     S(EPOLLRDHUP),  S(EPOLLEXCLUSIVE), S(EPOLLWAKEUP),
                                S(EPOLLONESHOT), S(EPOLLET)};
constexpr Sym kPollEvents[] = {Sym{1, "POLLIN"},         Sym{2, "POLLPRI"},       Sym{4, "POLLOUT"},
                               Sym{0x40, "POLLRDNORM"},  Sym{0x80, "POLLRDBAND"}, Sym{0x100, "POLLWRNORM"},
                               Sym{0x200, "POLLWRBAND"}, Sym{8, "POLLERR"},       Sym{0x10, "POLLHUP"},
                               Sym{0x20, "POLLNVAL"},    Sym{0x2000, "POLLRDHUP"}};
constexpr Sym kAf[] = {S(AF_UNSPEC), S(AF_UNIX),      S(AF_INET),  S(AF_INET6), S(AF_NETLINK), S(AF_PACKET),
                       S(AF_ALG),    S(AF_BLUETOOTH), S(AF_VSOCK), S(AF_KEY),   S(AF_XDP)};
constexpr Sym kSockType[] = {S(SOCK_STREAM), S(SOCK_DGRAM),     S(SOCK_RAW),
                             S(SOCK_RDM),    S(SOCK_SEQPACKET), S(SOCK_PACKET)};
constexpr Sym kSockFlags[] = {S(SOCK_CLOEXEC), S(SOCK_NONBLOCK)};
constexpr Sym kSol[] = {Sym{0, "SOL_IP"},    Sym{1, "SOL_SOCKET"},   Sym{6, "SOL_TCP"},
                        Sym{17, "SOL_UDP"},  Sym{41, "SOL_IPV6"},    Sym{132, "SOL_SCTP"},
                        Sym{255, "SOL_RAW"}, Sym{263, "SOL_PACKET"}, Sym{270, "SOL_NETLINK"}};
constexpr Sym kSo[] = {S(SO_DEBUG),
                       S(SO_REUSEADDR),
                       S(SO_TYPE),
                       S(SO_ERROR),
                       S(SO_DONTROUTE),
                       S(SO_BROADCAST),
                       S(SO_SNDBUF),
                       S(SO_RCVBUF),
                       S(SO_KEEPALIVE),
                       S(SO_OOBINLINE),
                       S(SO_PRIORITY),
                       S(SO_LINGER),
                       S(SO_REUSEPORT),
                       S(SO_PASSCRED),
                       S(SO_PEERCRED),
                       S(SO_RCVLOWAT),
                       S(SO_SNDLOWAT),
                       Sym{20, "SO_RCVTIMEO_OLD"},
                       Sym{21, "SO_SNDTIMEO_OLD"},
                       S(SO_BINDTODEVICE),
                       S(SO_ATTACH_FILTER),
                       S(SO_DETACH_FILTER),
                       S(SO_ACCEPTCONN),
                       S(SO_PEERSEC),
                       S(SO_SNDBUFFORCE),
                       S(SO_RCVBUFFORCE),
                       S(SO_PROTOCOL),
                       S(SO_DOMAIN)};
constexpr Sym kMsg[] = {S(MSG_OOB),        S(MSG_PEEK),     S(MSG_DONTROUTE),   S(MSG_CTRUNC),
                        S(MSG_TRUNC),      S(MSG_DONTWAIT), S(MSG_EOR),         S(MSG_WAITALL),
                        S(MSG_CONFIRM),    S(MSG_ERRQUEUE), S(MSG_NOSIGNAL),    S(MSG_MORE),
                        S(MSG_WAITFORONE), S(MSG_FASTOPEN), S(MSG_CMSG_CLOEXEC)};
constexpr Sym kShut[] = {S(SHUT_RD), S(SHUT_WR), S(SHUT_RDWR)};
constexpr Sym kSocketcall[] = {
    Sym{1, "SYS_SOCKET"},    Sym{2, "SYS_BIND"},        Sym{3, "SYS_CONNECT"},     Sym{4, "SYS_LISTEN"},
    Sym{5, "SYS_ACCEPT"},    Sym{6, "SYS_GETSOCKNAME"}, Sym{7, "SYS_GETPEERNAME"}, Sym{8, "SYS_SOCKETPAIR"},
    Sym{9, "SYS_SEND"},      Sym{10, "SYS_RECV"},       Sym{11, "SYS_SENDTO"},     Sym{12, "SYS_RECVFROM"},
    Sym{13, "SYS_SHUTDOWN"}, Sym{14, "SYS_SETSOCKOPT"}, Sym{15, "SYS_GETSOCKOPT"}, Sym{16, "SYS_SENDMSG"},
    Sym{17, "SYS_RECVMSG"},  Sym{18, "SYS_ACCEPT4"},    Sym{19, "SYS_RECVMMSG"},   Sym{20, "SYS_SENDMMSG"}};
constexpr Sym kProt[] = {S(PROT_READ), S(PROT_WRITE), S(PROT_EXEC), S(PROT_GROWSDOWN), S(PROT_GROWSUP)};
constexpr Sym kMapType[] = {S(MAP_SHARED), S(MAP_PRIVATE), S(MAP_SHARED_VALIDATE)};
constexpr Sym kMap[] = {S(MAP_FIXED),      S(MAP_ANONYMOUS),      S(MAP_32BIT),     S(MAP_NORESERVE),
                        S(MAP_POPULATE),   S(MAP_NONBLOCK),       S(MAP_GROWSDOWN), S(MAP_DENYWRITE),
                        S(MAP_EXECUTABLE), S(MAP_LOCKED),         S(MAP_STACK),     S(MAP_HUGETLB),
                        S(MAP_SYNC),       S(MAP_FIXED_NOREPLACE)};
constexpr Sym kMremap[] = {S(MREMAP_MAYMOVE), S(MREMAP_FIXED), S(MREMAP_DONTUNMAP)};
constexpr Sym kMadv[] = {S(MADV_NORMAL),        S(MADV_RANDOM),    S(MADV_SEQUENTIAL),  S(MADV_WILLNEED),
                         S(MADV_DONTNEED),      S(MADV_FREE),      S(MADV_REMOVE),      S(MADV_DONTFORK),
                         S(MADV_DOFORK),        S(MADV_MERGEABLE), S(MADV_UNMERGEABLE), S(MADV_HUGEPAGE),
                         S(MADV_NOHUGEPAGE),    S(MADV_DONTDUMP),  S(MADV_DODUMP),      S(MADV_WIPEONFORK),
                         S(MADV_KEEPONFORK),    S(MADV_COLD),      S(MADV_PAGEOUT),     S(MADV_POPULATE_READ),
                         S(MADV_POPULATE_WRITE)};
constexpr Sym kMsync[] = {S(MS_ASYNC), S(MS_INVALIDATE), S(MS_SYNC)};
constexpr Sym kMlockall[] = {S(MCL_CURRENT), S(MCL_FUTURE), S(MCL_ONFAULT)};
constexpr Sym kClone[] = {S(CLONE_VM),
                          S(CLONE_FS),
                          S(CLONE_FILES),
                          S(CLONE_SIGHAND),
                          S(CLONE_PIDFD),
                          S(CLONE_PTRACE),
                          S(CLONE_VFORK),
                          S(CLONE_PARENT),
                          S(CLONE_THREAD),
                          S(CLONE_NEWNS),
                          S(CLONE_SYSVSEM),
                          S(CLONE_SETTLS),
                          S(CLONE_PARENT_SETTID),
                          S(CLONE_CHILD_CLEARTID),
                          S(CLONE_DETACHED),
                          S(CLONE_UNTRACED),
                          S(CLONE_CHILD_SETTID),
                          S(CLONE_NEWCGROUP),
                          S(CLONE_NEWUTS),
                          S(CLONE_NEWIPC),
                          S(CLONE_NEWUSER),
                          S(CLONE_NEWPID),
                          S(CLONE_NEWNET),
                          S(CLONE_IO)};
constexpr Sym kWait[] = {S(WNOHANG),
                         S(WUNTRACED),
                         S(WEXITED),
                         S(WCONTINUED),
                         S(WNOWAIT),
                         Sym{0x20000000, "__WNOTHREAD"},
                         Sym{0x40000000, "__WALL"},
                         Sym{0x80000000, "__WCLONE"}};
constexpr Sym kIdtype[] = {S(P_ALL), S(P_PID), S(P_PGID), S(P_PIDFD)};
constexpr Sym kPidfd[] = {Sym{O_NONBLOCK, "PIDFD_NONBLOCK"}};
constexpr Sym kPtrace[] = {S(PTRACE_TRACEME),    S(PTRACE_PEEKTEXT),   S(PTRACE_PEEKDATA), S(PTRACE_PEEKUSER),
                           S(PTRACE_POKETEXT),   S(PTRACE_POKEDATA),   S(PTRACE_CONT),     S(PTRACE_KILL),
                           S(PTRACE_SINGLESTEP), S(PTRACE_GETREGS),    S(PTRACE_ATTACH),   S(PTRACE_DETACH),
                           S(PTRACE_SYSCALL),    S(PTRACE_SETOPTIONS), S(PTRACE_SEIZE)};
constexpr Sym kPrctl[] = {S(PR_SET_PDEATHSIG),
                          S(PR_GET_PDEATHSIG),
                          S(PR_GET_DUMPABLE),
                          S(PR_SET_DUMPABLE),
                          S(PR_SET_NAME),
                          S(PR_GET_NAME),
                          S(PR_GET_SECCOMP),
                          S(PR_SET_SECCOMP),
                          S(PR_CAPBSET_READ),
                          S(PR_CAPBSET_DROP),
                          S(PR_SET_KEEPCAPS),
                          S(PR_GET_KEEPCAPS),
                          S(PR_SET_MM),
                          S(PR_SET_CHILD_SUBREAPER),
                          S(PR_GET_CHILD_SUBREAPER),
                          S(PR_SET_NO_NEW_PRIVS),
                          S(PR_GET_NO_NEW_PRIVS),
                          S(PR_SET_THP_DISABLE),
                          S(PR_SET_TIMERSLACK),
                          S(PR_CAP_AMBIENT),
                          S(PR_SET_SYSCALL_USER_DISPATCH),
                          Sym{0x53564d41, "PR_SET_VMA"}};
constexpr Sym kArchPrctl[] = {Sym{0x1001, "ARCH_SET_GS"},    Sym{0x1002, "ARCH_SET_FS"},
                              Sym{0x1003, "ARCH_GET_FS"},    Sym{0x1004, "ARCH_GET_GS"},
                              Sym{0x1011, "ARCH_GET_CPUID"}, Sym{0x1012, "ARCH_SET_CPUID"}};
constexpr Sym kFutexOp[] = {S(FUTEX_WAIT),
                            S(FUTEX_WAKE),
                            S(FUTEX_FD),
                            S(FUTEX_REQUEUE),
                            S(FUTEX_CMP_REQUEUE),
                            S(FUTEX_WAKE_OP),
                            S(FUTEX_LOCK_PI),
                            S(FUTEX_UNLOCK_PI),
                            S(FUTEX_TRYLOCK_PI),
                            S(FUTEX_WAIT_BITSET),
                            S(FUTEX_WAKE_BITSET),
                            S(FUTEX_WAIT_REQUEUE_PI),
                            S(FUTEX_CMP_REQUEUE_PI),
                            Sym{13, "FUTEX_LOCK_PI2"}};
constexpr Sym kSched[] = {Sym{0, "SCHED_OTHER"}, Sym{1, "SCHED_FIFO"}, Sym{2, "SCHED_RR"},
                          Sym{3, "SCHED_BATCH"}, Sym{5, "SCHED_IDLE"}, Sym{6, "SCHED_DEADLINE"}};
constexpr Sym kRlimit[] = {S(RLIMIT_CPU),      S(RLIMIT_FSIZE), S(RLIMIT_DATA),   S(RLIMIT_STACK),
                           S(RLIMIT_CORE),     S(RLIMIT_RSS),   S(RLIMIT_NPROC),  S(RLIMIT_NOFILE),
                           S(RLIMIT_MEMLOCK),  S(RLIMIT_AS),    S(RLIMIT_LOCKS),  S(RLIMIT_SIGPENDING),
                           S(RLIMIT_MSGQUEUE), S(RLIMIT_NICE),  S(RLIMIT_RTPRIO), S(RLIMIT_RTTIME)};
constexpr Sym kRusageWho[] = {S(RUSAGE_SELF), S(RUSAGE_CHILDREN), S(RUSAGE_THREAD)};
constexpr Sym kGrnd[] = {S(GRND_NONBLOCK), S(GRND_RANDOM), Sym{4, "GRND_INSECURE"}};
constexpr Sym kSigHow[] = {S(SIG_BLOCK), S(SIG_UNBLOCK), S(SIG_SETMASK)};
constexpr Sym kSaFlags[] = {Sym{0x04000000, "SA_RESTORER"},
                            S(SA_ONSTACK),
                            S(SA_RESTART),
                            S(SA_NODEFER),
                            S(SA_RESETHAND),
                            S(SA_NOCLDSTOP),
                            S(SA_SIGINFO),
                            S(SA_NOCLDWAIT)};
constexpr Sym kSsFlags[] = {S(SS_ONSTACK), S(SS_DISABLE), Sym{0x80000000, "SS_AUTODISARM"}};
constexpr Sym kClock[] = {S(CLOCK_REALTIME),
                          S(CLOCK_MONOTONIC),
                          S(CLOCK_PROCESS_CPUTIME_ID),
                          S(CLOCK_THREAD_CPUTIME_ID),
                          S(CLOCK_MONOTONIC_RAW),
                          S(CLOCK_REALTIME_COARSE),
                          S(CLOCK_MONOTONIC_COARSE),
                          S(CLOCK_BOOTTIME),
                          S(CLOCK_REALTIME_ALARM),
                          S(CLOCK_BOOTTIME_ALARM),
                          S(CLOCK_TAI)};
constexpr Sym kTimer[] = {S(TIMER_ABSTIME)};
constexpr Sym kItimer[] = {Sym{0, "ITIMER_REAL"}, Sym{1, "ITIMER_VIRTUAL"}, Sym{2, "ITIMER_PROF"}};
constexpr Sym kSemctl[] = {S(IPC_RMID), S(IPC_SET),  S(IPC_STAT), S(IPC_INFO), S(GETPID),
                           S(GETVAL),   S(GETALL),   S(GETNCNT),  S(GETZCNT),  S(SETVAL),
                           S(SETALL),   S(SEM_STAT), S(SEM_INFO)};
constexpr Sym kRwf[] = {Sym{1, "RWF_HIPRI"}, Sym{2, "RWF_DSYNC"}, Sym{4, "RWF_SYNC"}, Sym{8, "RWF_NOWAIT"},
                        Sym{16, "RWF_APPEND"}};
constexpr Sym kCloseRange[] = {Sym{2, "CLOSE_RANGE_UNSHARE"}, Sym{4, "CLOSE_RANGE_CLOEXEC"}};
constexpr Sym kFdFlags[] = {S(FD_CLOEXEC)};
constexpr Sym kMadeOf[] = {S(S_IFREG), S(S_IFDIR), S(S_IFCHR), S(S_IFBLK),
                           S(S_IFIFO), S(S_IFLNK), S(S_IFSOCK)};
#undef S

enum class Style : std::uint8_t { Bits, One };
struct Set {
  std::string_view name;
  Style style;
  std::span<const Sym> symbols;
  const char* zero = "0";       // Bits: what 0 is called
  const char* unknown = "???";  // what follows when not even one symbol fits
};
constexpr Set kSets[] = {
    {"fcntl", Style::One, kFcntl, "", "F_???"},
    {"flock", Style::Bits, kFlock, "0", "LOCK_???"},
    {"seek", Style::One, kSeek, "", "SEEK_???"},
    {"splice", Style::Bits, kSplice, "0", "SPLICE_F_???"},
    {"sync_range", Style::Bits, kSyncRange},
    {"fadvise", Style::One, kFadvise, "", "POSIX_FADV_???"},
    {"falloc", Style::Bits, kFalloc, "0", "FALLOC_FL_???"},
    {"memfd", Style::Bits, kMemfd, "0", "MFD_???"},
    {"inotify", Style::Bits, kInotify, "0", "IN_???"},
    {"at", Style::Bits, kAt, "0", "AT_???"},
    {"at_follow", Style::Bits, kAtFollow, "0", "AT_???"},
    {"at_remove", Style::Bits, kAtRemove, "0", "AT_???"},
    {"eaccess", Style::Bits, kEaccess, "0", "AT_???"},
    {"statx", Style::Bits, kStatx, "0", "STATX_???"},
    {"access", Style::Bits, kAccess, "F_OK", "?_OK"},
    {"rename", Style::Bits, kRename, "0", "RENAME_???"},
    {"xattr", Style::Bits, kXattr, "0", "XATTR_???"},
    {"mount", Style::Bits, kMount, "0", "MS_???"},
    {"umount", Style::Bits, kUmount, "0", "MNT_???"},
    {"epoll", Style::Bits, kEpoll, "0", "EPOLL_???"},
    {"epoll_ctl", Style::One, kEpollCtl, "", "EPOLL_CTL_???"},
    {"epoll_events", Style::Bits, kEpollEvents, "0", "EPOLL???"},
    {"poll_events", Style::Bits, kPollEvents, "0", "POLL???"},
    {"af", Style::One, kAf, "", "AF_???"},
    {"sock_flags", Style::Bits, kSockFlags, "0", "SOCK_???"},
    {"sol", Style::One, kSol, "", "SOL_???"},
    {"so", Style::One, kSo, "", "SO_???"},
    {"msg", Style::Bits, kMsg, "0", "MSG_???"},
    {"shut", Style::One, kShut, "", "SHUT_???"},
    {"socketcall", Style::One, kSocketcall, "", "SYS_???"},
    {"prot", Style::Bits, kProt, "PROT_NONE", "PROT_???"},
    {"mremap", Style::Bits, kMremap, "0", "MREMAP_???"},
    {"madv", Style::One, kMadv, "", "MADV_???"},
    {"msync", Style::Bits, kMsync, "0", "MS_???"},
    {"mlockall", Style::Bits, kMlockall, "0", "MCL_???"},
    {"wait", Style::Bits, kWait, "0", "W???"},
    {"idtype", Style::One, kIdtype, "", "P_???"},
    {"pidfd", Style::Bits, kPidfd, "0", "PIDFD_???"},
    {"ptrace", Style::One, kPtrace, "", "PTRACE_???"},
    {"prctl", Style::One, kPrctl, "", "PR_???"},
    {"arch_prctl", Style::One, kArchPrctl, "", "ARCH_???"},
    {"sched", Style::One, kSched, "", "SCHED_???"},
    {"rlimit", Style::One, kRlimit, "", "RLIMIT_???"},
    {"rusage_who", Style::One, kRusageWho, "", "RUSAGE_???"},
    {"grnd", Style::Bits, kGrnd, "0", "GRND_???"},
    {"sig_how", Style::One, kSigHow, "", "SIG_???"},
    {"sa_flags", Style::Bits, kSaFlags, "0", "SA_???"},
    {"ss_flags", Style::Bits, kSsFlags, "0", "SS_???"},
    {"clock", Style::One, kClock, "", "CLOCK_???"},
    {"timer", Style::Bits, kTimer, "0", "TIMER_???"},
    {"itimer", Style::One, kItimer, "", "ITIMER_???"},
    {"semctl", Style::One, kSemctl, "", "SEM_???"},
    {"rwf", Style::Bits, kRwf, "0", "RWF_???"},
    {"close_range", Style::Bits, kCloseRange, "0", "CLOSE_RANGE_???"},
    {"fd_flags", Style::Bits, kFdFlags, "0", "FD_???"},
    {"file_type", Style::One, kMadeOf, "", "S_IF???"},
    {"zero", Style::Bits, {}, "0", ""},
};

const char* name_in(std::span<const Sym> symbols, std::uint64_t v) {
  for (const Sym& s : symbols) {
    if (s.value == v) return s.name;
  }
  return nullptr;
}

void put_one(std::string& out, std::span<const Sym> symbols, std::uint64_t v, const char* unknown) {
  if (const char* n = name_in(symbols, v); n != nullptr) {
    out += n;
    return;
  }
  put_hex(out, v);
  if (*unknown != '\0') ((out += " /* ") += unknown) += " */";
}

// Appends the symbols that make up `v`; `begun`: something stands there to be joined with '|'.
void put_bits(std::string& out, std::span<const Sym> symbols, std::uint64_t v, bool begun,
              const char* unknown) {
  bool known = begun;
  for (const Sym& s : symbols) {
    if (s.value == 0 || (v & s.value) != s.value) continue;
    if (known) out += '|';
    out += s.name;
    v &= ~s.value;
    known = true;
  }
  if (v == 0) return;
  if (known) out += '|';
  put_hex(out, v);
  if (!known && *unknown != '\0') ((out += " /* ") += unknown) += " */";
}

void put_open(std::string& out, std::uint64_t v) {
  put_one(out, kAccMode, v & O_ACCMODE, "O_???");
  put_bits(out, kOpen, v & ~std::uint64_t{O_ACCMODE}, true, "");
}

void put_futex_op(std::string& out, std::uint64_t v) {
  put_one(out, kFutexOp, v & static_cast<std::uint32_t>(FUTEX_CMD_MASK), "FUTEX_???");
  if ((v & FUTEX_PRIVATE_FLAG) != 0) out += "_PRIVATE";
  if ((v & FUTEX_CLOCK_REALTIME) != 0) out += "|FUTEX_CLOCK_REALTIME";
}

void put_clone(std::string& out, std::uint64_t v) {
  constexpr std::uint64_t kExitSignal = 0xff;
  const std::uint64_t bits = v & ~kExitSignal;
  if (bits != 0) put_bits(out, kClone, bits, false, "CLONE_???");
  if ((v & kExitSignal) == 0) {
    if (bits == 0) out += '0';
    return;
  }
  if (bits != 0) out += '|';
  put_signal(out, v & kExitSignal);
}

// Sets whose low bits are a choice and whose high bits are flags.
bool put_mixed(std::string& out, std::string_view set, std::uint64_t v) {
  if (set == "open") {
    put_open(out, v);
  } else if (set == "open_flags_only") {
    v == 0 ? out += '0' : (put_bits(out, kOpen, v, false, "O_???"), out);
  } else if (set == "map") {
    put_one(out, kMapType, v & 3U, "MAP_???");
    put_bits(out, kMap, v & ~std::uint64_t{3}, true, "");
  } else if (set == "sock_type") {
    put_one(out, kSockType, v & 0xfU, "SOCK_???");
    put_bits(out, kSockFlags, v & ~std::uint64_t{0xf}, true, "");
  } else if (set == "futex_op") {
    put_futex_op(out, v);
  } else if (set == "clone") {
    put_clone(out, v);
  } else if (set == "ioctl") {
    const char* n = ioctl_name(static_cast<std::uint32_t>(v));
    n != nullptr ? out += n : (put_hex(out, v), out);
  } else {
    return false;
  }
  return true;
}

}  // namespace

bool put_symbols(std::string& out, std::string_view set, std::uint64_t value) {
  const std::uint64_t v = value & 0xffff'ffffU;  // every set has 32 bits
  if (put_mixed(out, set, v)) return true;
  for (const Set& s : kSets) {
    if (s.name != set) continue;
    if (s.style == Style::One) {
      put_one(out, s.symbols, v, s.unknown);
    } else if (v == 0) {
      out += s.zero;
    } else {
      put_bits(out, s.symbols, v, false, s.unknown);
    }
    return true;
  }
  return false;
}

}  // namespace hpcvmm::sys
