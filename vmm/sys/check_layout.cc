// Compiled -m64 and again -m32, never linked: the C library's own headers judge the sizes in the rows.
#include <mqueue.h>
#include <net/if.h>
#include <net/route.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <time.h>

#include "vmm/sys/table.hh"

namespace {
using hpcvmm::sys::Call;

constexpr bool kIs64 = sizeof(void*) == 8;
constexpr unsigned size_in_row(Call c, unsigned i) {
  const auto& a = hpcvmm::sys::kRows[static_cast<unsigned>(c)].args[i];
  return kIs64 ? a.size64 : a.size32;
}
constexpr unsigned either(unsigned size64, unsigned size32) { return kIs64 ? size64 : size32; }

static_assert(size_in_row(Call::readv, 1) == sizeof(iovec));
static_assert(size_in_row(Call::sendmsg, 1) == sizeof(msghdr));
static_assert(size_in_row(Call::sendmmsg, 1) == sizeof(mmsghdr));
static_assert(size_in_row(Call::nanosleep, 0) == sizeof(timespec));
static_assert(size_in_row(Call::gettimeofday, 0) == sizeof(timeval));
static_assert(size_in_row(Call::setitimer, 1) == sizeof(itimerval));
static_assert(size_in_row(Call::timer_settime, 2) == sizeof(struct itimerspec));
static_assert(size_in_row(Call::wait4, 3) == sizeof(rusage));
static_assert(size_in_row(Call::waitid, 2) == sizeof(siginfo_t));
static_assert(size_in_row(Call::getrlimit, 1) == sizeof(rlimit));
static_assert(size_in_row(Call::prlimit64, 2) == sizeof(rlimit64));
static_assert(size_in_row(Call::times, 0) == sizeof(tms));
static_assert(size_in_row(Call::statfs, 1) == sizeof(struct statfs));
static_assert(size_in_row(Call::sysinfo, 0) == sizeof(struct sysinfo));
static_assert(size_in_row(Call::uname, 0) == sizeof(utsname));
static_assert(size_in_row(Call::mq_open, 3) == sizeof(mq_attr));
static_assert(size_in_row(Call::mq_notify, 1) == sizeof(sigevent));
static_assert(size_in_row(Call::sigaltstack, 0) == sizeof(stack_t));
static_assert(size_in_row(Call::epoll_wait, 1) == sizeof(epoll_event));
static_assert(size_in_row(Call::poll, 0) == sizeof(pollfd));
static_assert(size_in_row(Call::_newselect, 1) == sizeof(fd_set));
static_assert(size_in_row(Call::semop, 1) == sizeof(sembuf));
static_assert(size_in_row(Call::shmctl, 2) == sizeof(shmid_ds));
static_assert(size_in_row(Call::statx, 4) == sizeof(struct statx));
static_assert(size_in_row(Call::stat, 1) == (kIs64 ? sizeof(struct stat) : 64));
static_assert(size_in_row(Call::stat64, 1) == (kIs64 ? 96 : sizeof(struct stat64)));
// ioctl.cc has these offsets and sizes for the x86-64 layout.
static_assert(!kIs64 || (sizeof(ifconf) == 16 && offsetof(ifconf, ifc_ifcu) == 8));
static_assert(!kIs64 || (sizeof(ifreq) == 40 && offsetof(ifreq, ifr_ifru) == 16));
static_assert(!kIs64 || (sizeof(rtentry) == 120 && offsetof(rtentry, rt_dev) == 88));
static_assert(either(8, 4) == sizeof(long));
}  // namespace
