#include "vmm/sys/marshal.hh"

#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <termios.h>

#include <algorithm>
#include <array>

#include "vmm/sys/table.hh"

namespace hpcvmm::sys {
namespace {

enum class Way : std::uint8_t {
  No,
  Passed,  // the kernel is given the copies' addresses: pass_through(), which IA32 calls need a twin for
  Copied,  // the deputy's handler reads and writes by HostGate::copy_*() only, of a process that is away
};

struct Entry {
  Call call;
  Way way;
};

constexpr Entry kEntries[] = {
#define P(call) \
  { Call::call, Way::Passed }
#define C(call) \
  { Call::call, Way::Copied }
    // Names.
    P(open),
    P(openat),
    P(openat2),
    P(creat),
    P(stat),
    P(lstat),
    P(newfstatat),
    P(statx),
    P(access),
    P(faccessat),
    P(faccessat2),
    P(readlink),
    P(readlinkat),
    P(getcwd),
    P(chdir),
    P(chroot),
    P(rename),
    P(renameat),
    P(renameat2),
    P(mkdir),
    P(mkdirat),
    P(rmdir),
    P(link),
    P(linkat),
    P(unlink),
    P(unlinkat),
    P(symlink),
    P(symlinkat),
    P(mknod),
    P(mknodat),
    P(chmod),
    P(fchmodat),
    P(fchmodat2),
    P(chown),
    P(lchown),
    P(fchownat),
    P(truncate),
    P(utimensat),
    P(utimes),
    P(statfs),
    P(inotify_add_watch),
    P(memfd_create),
    P(getxattr),
    P(lgetxattr),
    P(fgetxattr),
    P(listxattr),
    P(llistxattr),
    P(flistxattr),
    // Descriptors.
    P(fstat),
    P(fstatfs),
    P(read),
    P(write),
    P(pread64),
    P(pwrite64),
    P(readv),
    P(writev),
    P(preadv),
    P(pwritev),
    P(pipe),
    P(pipe2),
    P(getdents),
    P(getdents64),
    P(ioctl),
    P(epoll_ctl),
    P(epoll_wait),
    P(copy_file_range),
    P(sendfile),
    P(timerfd_settime),
    P(timerfd_gettime),
    // Sockets.
    P(socketpair),
    P(bind),
    P(connect),
    P(accept),
    P(accept4),
    P(getsockname),
    P(getpeername),
    P(sendto),
    P(recvfrom),
    // Processes and the machine.
    C(wait4),
    C(waitid),
    C(getrusage),
    C(times),
    P(uname),
    P(sysinfo),
    P(getresuid),
    P(getresgid),
    P(getresuid32),
    P(getresgid32),
    P(getitimer),
    P(setitimer),
    P(sched_getaffinity),
    P(sched_getparam),
    // Signals and limits: the deputy's.
    C(rt_sigaction),
    C(rt_sigprocmask),
    C(sigaltstack),
    C(prlimit64),
    C(getrlimit),
    C(ugetrlimit),
#undef P
#undef C
};

constexpr auto kWays = [] {
  std::array<Way, kCallCount> table{};
  for (const Entry& e : kEntries) table[static_cast<std::size_t>(e.call)] = e.way;
  return table;
}();

/// Bytes that the result counts in one.  0: the result does not say what was written.
std::uint8_t result_unit(const Row& row, const Args& args) {
  switch (row.call) {
    case Call::read:
    case Call::pread64:
    case Call::readv:
    case Call::preadv:
    case Call::readlink:
    case Call::readlinkat:
    case Call::getcwd:
    case Call::getdents:
    case Call::getdents64:
    case Call::getxattr:
    case Call::lgetxattr:
    case Call::fgetxattr:
    case Call::listxattr:
    case Call::llistxattr:
    case Call::flistxattr:
    case Call::sched_getaffinity: return 1;
    case Call::recvfrom: return (args[3] & MSG_TRUNC) != 0 ? 0 : 1;  // then it may count more than it wrote
    case Call::epoll_wait: return 12;
    default: return 0;
  }
}

struct Sized {
  std::uint32_t request;
  std::uint8_t bytes;
  bool in, out;
};
/// Requests that programs make all the time.  Sizes: the kernel's struct termios has 36 bytes.
constexpr Sized kIoctls[] = {
    {TCGETS, 36, false, true},   {TCSETS, 36, true, false},    {TCSETSW, 36, true, false},
    {TCSETSF, 36, true, false},  {TIOCGWINSZ, 8, false, true}, {TIOCSWINSZ, 8, true, false},
    {TIOCGPGRP, 4, false, true}, {TIOCSPGRP, 4, true, false},  {FIONREAD, 4, false, true},
    {FIONBIO, 4, true, false},
};

class Planner {
 public:
  Planner(const Row& row, Abi abi, const Args& args,
          bool (*read)(void* to, std::uint64_t guest, std::size_t bytes))
      : row_(row), abi_(abi), args_(args), read_(read), unit_(result_unit(row, args)) {}

  /// False: the call had better not travel with data at all.
  bool take(unsigned i) {
    const Arg& a = row_.args[i];
    const std::uint64_t at = value(i);
    if (at == 0) return true;
    const std::uint16_t size = abi_ == Abi::X64 ? a.size64 : a.size32;
    switch (a.kind) {
      case ArgKind::Path:
      case ArgKind::String: return add({at, kLongestPath, byte(i), true, false, true, 0});
      case ArgKind::InBuf: return buffer(i, true, false);
      case ArgKind::OutBuf: return buffer(i, unit_ == 0, true);
      case ArgKind::InOutBuf: return buffer(i, true, true);
      case ArgKind::InStruct: return add({at, size, byte(i), true, false, false, 0});
      case ArgKind::OutStruct:
      case ArgKind::InOutStruct: return compared({at, size, byte(i), true, true, false, 0});
      case ArgKind::InSockaddr: return address(i);
      case ArgKind::OutSockaddr: return peer(i);
      case ArgKind::InIovec:
      case ArgKind::OutIovec: return vector(i);
      case ArgKind::IoctlArg: return ioctl(i);
      default: return true;  // plain words, and what goes the way of pages
    }
  }

  [[nodiscard]] const Plan& plan() const { return plan_; }
  [[nodiscard]] bool fits() const {
    std::uint64_t total = 0;
    for (const Area& a : plan_.all()) {
      total += a.text ? 0 : a.bytes;
      for (const Area& b : plan_.all())
        if (&a != &b && (a.out || b.out) && a.guest < b.guest + b.bytes && b.guest < a.guest + a.bytes)
          return false;
    }
    return total <= kMostMarshalled;
  }

 private:
  static std::uint8_t byte(unsigned i) { return static_cast<std::uint8_t>(i); }
  [[nodiscard]] std::uint64_t value(unsigned i) const { return arg_value(row_, abi_, args_, i); }

  bool add(const Area& a) {
    if (a.bytes == 0) return true;
    if (plan_.count == kMaxAreas || a.guest + a.bytes < a.guest) return false;
    plan_.areas[plan_.count++] = a;
    return true;
  }
  bool compared(const Area& a) { return a.bytes <= kMostCompared && add(a); }

  bool buffer(unsigned i, bool in, bool out) {
    const Arg& a = row_.args[i];
    const std::uint64_t n = value(static_cast<unsigned>(a.len_arg));
    const std::uint64_t each = std::max<std::uint64_t>(abi_ == Abi::X64 ? a.size64 : a.size32, 1);
    if (n > kMostMarshalled) return false;
    const Area area{value(i), static_cast<std::uint32_t>(n * each), byte(i), in, out,
                    false,    out ? unit_ : std::uint8_t{0}};
    return in && out ? compared(area) : add(area);
  }

  bool address(unsigned i) {
    const std::uint64_t n = value(static_cast<unsigned>(row_.args[i].len_arg)) & 0xffff'ffffU;
    if (n > sizeof(sockaddr_storage)) return false;  // EINVAL, from the kernel
    return add({value(i), static_cast<std::uint32_t>(n), byte(i), true, false, false, 0});
  }

  bool peer(unsigned i) {
    const auto length = static_cast<unsigned>(row_.args[i].len_arg);
    std::uint32_t room = 0;
    if (value(length) == 0 || !read_(&room, value(length), sizeof room)) return false;
    if (static_cast<std::int32_t>(room) < 0) return false;
    room = std::min<std::uint32_t>(room, sizeof(sockaddr_storage));
    return compared({value(i), room, byte(i), true, true, false, 0}) &&
           add({value(length), sizeof room, byte(length), true, true, false, 0});
  }

  bool vector(unsigned i) {
    const Arg& a = row_.args[i];
    const std::uint64_t n = value(static_cast<unsigned>(a.len_arg));
    std::array<iovec, kMaxAreas - 1> iov{};
    if (abi_ == Abi::Ia32 || n > iov.size() || !read_(iov.data(), value(i), n * sizeof iov[0])) return false;
    if (!add({value(i), static_cast<std::uint32_t>(n * sizeof iov[0]), byte(i), true, false, false, 0}))
      return false;
    const bool out = a.kind == ArgKind::OutIovec;
    for (std::size_t k = 0; k < n; ++k) {
      if (iov[k].iov_len > kMostMarshalled) return false;
      if (!add({reinterpret_cast<std::uint64_t>(iov[k].iov_base), static_cast<std::uint32_t>(iov[k].iov_len),
                byte(i), !out, out, false, out ? unit_ : std::uint8_t{0}}))
        return false;
    }
    return true;
  }

  bool ioctl(unsigned i) {
    const IoctlBytes known = known_ioctl(value(1));
    return known.bytes != 0 && add({value(i), known.bytes, byte(i), true, known.out, false, 0});
  }

  const Row& row_;
  const Abi abi_;
  const Args& args_;
  bool (*const read_)(void* to, std::uint64_t guest, std::size_t bytes);
  const std::uint8_t unit_;
  Plan plan_;
};

}  // namespace

IoctlBytes known_ioctl(std::uint64_t request) {
  for (const Sized& s : kIoctls)
    if (s.request == static_cast<std::uint32_t>(request)) return {s.bytes, s.in, s.out};
  return {};
}

bool may_marshal(const Row& row, Abi abi) {
  switch (kWays[static_cast<std::size_t>(row.call)]) {
    case Way::No: return false;
    case Way::Passed:
      if (abi == Abi::Ia32 && row.call == Call::getdents64) return false;  // int 0x80, whatever the twin
      return row.restart != Restart::Block && (abi == Abi::X64 || row.twin);
    case Way::Copied: return true;
  }
  return false;
}

Plan marshal_plan(const Row& row, Abi abi, const Args& args,
                  bool (*read)(void* to, std::uint64_t guest, std::size_t bytes)) {
  Planner planner(row, abi, args, read);
  const unsigned count = shape_of(row).count;
  for (unsigned i = 0; i < count; ++i)
    if (!planner.take(i)) return {};
  return planner.fits() ? planner.plan() : Plan{};
}

}  // namespace hpcvmm::sys
