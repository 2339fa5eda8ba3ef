#include "vmm/sys/marshal.hh"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <termios.h>

#include <algorithm>
#include <array>

#include "vmm/sys/messages.hh"
#include "vmm/sys/table.hh"

namespace hpcvmm::sys {
namespace {

enum class Way : std::uint8_t {
  No,
  Passed,  // the kernel is given the copies' addresses: pass_through()
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
    P(stat64),
    P(lstat64),
    P(fstatat64),
    P(oldstat),
    P(oldlstat),
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
    P(truncate64),
    P(utimensat),
    P(utimensat_time64),
    P(futimesat),
    P(utimes),
    P(utime),
    P(statfs),
    P(statfs64),
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
    P(fstat64),
    P(oldfstat),
    P(fstatfs),
    P(fstatfs64),
    P(_llseek),
    P(fcntl),
    P(fcntl64),
    P(read),
    P(write),
    P(pread64),
    P(pwrite64),
    P(readv),
    P(writev),
    P(preadv),
    P(pwritev),
    P(preadv2),
    P(pwritev2),
    P(pipe),
    P(pipe2),
    P(getdents),
    P(getdents64),
    P(ioctl),
    P(epoll_ctl),
    P(epoll_wait),
    P(poll),
    C(ppoll),
    C(ppoll_time64),
    P(select),
    P(_newselect),
    C(pselect6),
    C(pselect6_time64),
    C(epoll_pwait),
    C(epoll_pwait2),
    P(copy_file_range),
    P(sendfile),
    P(sendfile64),
    P(timerfd_settime),
    P(timerfd_settime64),
    P(timerfd_gettime),
    P(timerfd_gettime64),
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
    P(sendmsg),
    P(recvmsg),
    P(setsockopt),
    P(getsockopt),
    P(socketcall),
    // Processes and the machine.
    C(wait4),
    C(waitpid),
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
    P(timer_settime),
    P(timer_settime64),
    P(timer_gettime),
    P(timer_gettime64),
    P(sched_rr_get_interval),
    P(sched_getaffinity),
    P(sched_getparam),
    // Signals and limits: the deputy's.
    C(rt_sigaction),
    C(rt_sigprocmask),
    C(sigaltstack),
    C(prlimit64),
    C(getrlimit),
    C(ugetrlimit),
    C(setrlimit),
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
    case Call::preadv2:
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
    case Call::recvmsg: return (args[2] & MSG_TRUNC) != 0 ? 0 : 1;
    case Call::epoll_wait:
    case Call::epoll_pwait:
    case Call::epoll_pwait2: return 12;
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

/// Options whose value is as long as its length says, and has no addresses in it.
bool is_flat_option(bool setting, std::uint64_t level, std::uint64_t name) {
  constexpr std::uint64_t kReuseportProgram = 51;  // SO_ATTACH_REUSEPORT_CBPF
  constexpr std::uint64_t kZerocopyReceive = 35;   // TCP_ZEROCOPY_RECEIVE
  switch (static_cast<std::uint32_t>(level)) {
    // SO_GET_FILTER has the number of SO_ATTACH_FILTER, and counts instructions.
    case SOL_SOCKET: return name != SO_ATTACH_FILTER && (!setting || name != kReuseportProgram);
    case IPPROTO_TCP: return name != kZerocopyReceive;
    case IPPROTO_IP: return name == IP_TOS || name == IP_TTL;
    case IPPROTO_IPV6: return name == IPV6_V6ONLY;
    default: return false;
  }
}
constexpr std::uint32_t kLongestOption = 512;

/// True for calls whose copies all stand below 4 GiB.  Vectors and messages are made with 64-bit headers of
/// ours; entries of a directory come piece by piece.
bool is_low(const Row& row, Abi abi) {
  if (abi == Abi::X64 || row.twin) return false;
  switch (row.call) {
    case Call::readv:
    case Call::writev:
    case Call::preadv:
    case Call::pwritev:
    case Call::preadv2:
    case Call::pwritev2:
    case Call::sendmsg:
    case Call::recvmsg:
    case Call::socketcall:
    case Call::getdents64: return false;
    default: return kWays[static_cast<std::size_t>(row.call)] == Way::Passed;
  }
}

class Planner {
 public:
  using Read = bool (*)(void* to, std::uint64_t guest, std::size_t bytes);
  Planner(const Row& row, Abi abi, const Args& args, Read read)
      : row_(row), abi_(abi), args_(args), read_(read), unit_(result_unit(row, args)) {}

  /// False: the call had better not travel with data at all.
  bool take_all() {
    const unsigned count = shape_of(row_).count;
    for (unsigned i = 0; i < count; ++i)
      if (!take(i)) return false;
    return true;
  }

  /// The words of socketcall, then what the call behind it uses.
  bool take_behind() {
    std::array<std::uint32_t, 6> words{};
    const SocketCall* const behind = socket_call(value(0));
    if (behind == nullptr || !read_(words.data(), value(1), behind->words * sizeof words[0])) return false;
    Args args{};
    std::copy_n(words.begin(), behind->words, args.begin());
    Planner inner(row_of(behind->call), abi_, args, read_);
    if (may_marshal(inner.row_, abi_) && inner.take_all() && inner.fits()) plan_ = inner.plan_;
    return add(
        {value(1), static_cast<std::uint32_t>(behind->words * sizeof words[0]), 1, true, false, false, 0});
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
    return total <= (is_low(row_, abi_) ? kLowBytes / 2 : kMostMarshalled);
  }

 private:
  static std::uint8_t byte(unsigned i) { return static_cast<std::uint8_t>(i); }
  [[nodiscard]] std::uint64_t value(unsigned i) const { return arg_value(row_, abi_, args_, i); }

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
      case ArgKind::InStruct: return structure(i, size, false);
      case ArgKind::OutStruct:
      case ArgKind::InOutStruct: return structure(i, size, true);
      case ArgKind::InSockaddr: return address(i);
      case ArgKind::OutSockaddr: return peer(i);
      case ArgKind::InIovec:
      case ArgKind::OutIovec:
        return vector(i, at, value(static_cast<unsigned>(a.len_arg)), a.kind == ArgKind::OutIovec);
      case ArgKind::InMsghdr: return message(i, false);
      case ArgKind::OutMsghdr: return message(i, true);
      case ArgKind::IoctlArg: return ioctl(i);
      case ArgKind::FcntlArg: return add({at, known_fcntl(abi_, value(1)), byte(i), true, true, false, 0});
      case ArgKind::SockOptVal: return option(i);
      default: return true;  // plain words, and what goes the way of pages
    }
  }

  bool add(const Area& a) {
    if (a.bytes == 0) return true;
    if (plan_.count == kMaxAreas || a.guest + a.bytes < a.guest) return false;
    plan_.areas[plan_.count++] = a;
    return true;
  }
  bool compared(const Area& a) { return a.bytes <= kMostCompared && add(a); }

  bool structure(unsigned i, std::uint32_t size, bool out) {
    switch (row_.call) {
      case Call::select:
      case Call::_newselect:
      case Call::pselect6:
      case Call::pselect6_time64:
        if (i <= 3) {
          size = fd_set_bytes(abi_, value(0));
          if (size == 0) return value(0) == 0;
        } else if (i == 5) {
          return masks(i);
        }
        break;
      default: break;
    }
    return out ? compared({value(i), size, byte(i), true, true, false, 0})
               : add({value(i), size, byte(i), true, false, false, 0});
  }

  /// pselect6's last word: an address and a length.
  bool masks(unsigned i) {
    constexpr std::uint32_t kMask = 8;
    std::uint64_t mask = 0;
    const std::uint32_t word = abi_ == Abi::X64 ? 8 : 4;
    if (!read_(&mask, value(i), word)) return false;
    return add({value(i), 2 * word, byte(i), true, false, false, 0}) &&
           (mask == 0 || add({mask, kMask, byte(i), true, false, false, 0}));
  }

  bool buffer(unsigned i, bool in, bool out) {
    const Arg& a = row_.args[i];
    const std::uint64_t n = value(static_cast<unsigned>(a.len_arg));
    const std::uint64_t each = std::max<std::uint64_t>(abi_ == Abi::X64 ? a.size64 : a.size32, 1);
    if (n > kMostMarshalled) return false;
    Area area{value(i), static_cast<std::uint32_t>(n * each), byte(i), in, out,
              false,    out ? unit_ : std::uint8_t{0}};
    // Of an array of pollfd the kernel writes every fourth word.
    area.apart = row_.call == Call::poll || row_.call == Call::ppoll || row_.call == Call::ppoll_time64;
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

  bool option(unsigned i) {
    const auto length = static_cast<unsigned>(row_.args[i].len_arg);
    const bool setting = row_.call == Call::setsockopt;
    if (!is_flat_option(setting, value(1), value(2))) return false;
    auto room = static_cast<std::uint32_t>(value(length));
    if (!setting && (value(length) == 0 || !read_(&room, value(length), sizeof room))) return false;
    if (room > kLongestOption) return false;
    return add({value(i), room, byte(i), true, !setting, false, 0}) &&
           (setting || add({value(length), sizeof room, byte(length), true, true, false, 0}));
  }

  /// `count` vectors at `at`, and their buffers.
  bool vector(unsigned i, std::uint64_t at, std::uint64_t count, bool out) {
    std::array<iovec, kMaxAreas> iov{};
    plan_.vector_arg = byte(i);
    const std::size_t each = iovec_bytes(abi_);
    if (count > iov.size() || !read_iovec(abi_, read_, at, count, iov.data())) return false;
    if (!add({at, static_cast<std::uint32_t>(count * each), byte(i), true, false, false, 0})) return false;
    for (std::size_t k = 0; k < count; ++k) {
      if (iov[k].iov_len > kMostMarshalled) return false;
      const Area a{reinterpret_cast<std::uint64_t>(iov[k].iov_base),
                   static_cast<std::uint32_t>(iov[k].iov_len),
                   byte(i),
                   !out || unit_ == 0,
                   out,
                   false,
                   out ? unit_ : std::uint8_t{0}};
      if (!(a.in && a.out ? compared(a) : add(a))) return false;
    }
    return true;
  }

  bool message(unsigned i, bool out) {
    msghdr m{};
    if (!read_msghdr(abi_, read_, value(i), m)) return false;
    if (m.msg_name != nullptr && m.msg_namelen > sizeof(sockaddr_storage)) {
      if (!out || static_cast<std::int32_t>(m.msg_namelen) < 0) return false;  // EINVAL, or cut by the kernel
      m.msg_namelen = sizeof(sockaddr_storage);
    }
    const auto at = [](const void* p) { return reinterpret_cast<std::uint64_t>(p); };
    if (m.msg_controllen > kMostCompared) return false;
    const auto control = static_cast<std::uint32_t>(m.msg_control != nullptr ? m.msg_controllen : 0);
    const std::uint32_t name = m.msg_name != nullptr ? m.msg_namelen : 0;
    const std::uint32_t head = msghdr_bytes(abi_);
    if (!add({value(i), head, byte(i), true, out, false, 0}) ||
        !add({at(m.msg_name), name, byte(i), true, out, false, 0}) ||
        !add({at(m.msg_control), control, byte(i), true, out, false, 0}) ||
        !vector(i, at(m.msg_iov), m.msg_iovlen, out))
      return false;
    // Control data has a layout of its own in each ABI: all of such a message stands below 4 GiB.
    return abi_ == Abi::X64 || m.msg_controllen == 0 || low_bytes(plan_) <= kLowBytes / 2;
  }

  bool ioctl(unsigned i) {
    const IoctlBytes known = known_ioctl(value(1));
    return known.bytes != 0 && add({value(i), known.bytes, byte(i), true, known.out, false, 0});
  }

  const Row& row_;
  const Abi abi_;
  const Args& args_;
  const Read read_;
  const std::uint8_t unit_;
  Plan plan_;
};

}  // namespace

std::uint32_t known_fcntl(Abi abi, std::uint64_t command) {
  const bool wide = abi == Abi::X64;
  constexpr std::uint32_t kFlock64 = 32;     // struct flock of x86-64
  constexpr std::uint32_t kFlock32 = 16;     // struct compat_flock
  constexpr std::uint32_t kFlock32Lfs = 24;  // struct compat_flock64
  constexpr std::uint32_t kOwner = 8;        // struct f_owner_ex
  switch (static_cast<std::uint32_t>(command)) {
    case F_GETLK:
    case F_SETLK:
    case F_SETLKW: return wide ? kFlock64 : kFlock32;
    case 12:  // F_GETLK64 and its two sisters, which x86-64 has not
    case 13:
    case 14: return wide ? 0 : kFlock32Lfs;
    case F_OFD_GETLK:
    case F_OFD_SETLK:
    case F_OFD_SETLKW: return wide ? kFlock64 : kFlock32Lfs;
    case F_SETOWN_EX:
    case F_GETOWN_EX: return kOwner;
    default: return 0;
  }
}

std::uint32_t fd_set_bytes(Abi abi, std::uint64_t descriptors) {
  // As many as fit into what is compared.
  const auto n = static_cast<std::uint32_t>(descriptors);
  if (n > kMostCompared * 8) return 0;
  const std::uint32_t word = abi == Abi::X64 ? 64 : 32;
  return (n + word - 1) / word * (word / 8);
}

std::uint32_t low_bytes(const Plan& plan) {
  std::uint32_t total = 0;
  for (const Area& a : plan.all()) total += (a.bytes + kLowAlign - 1) & ~(kLowAlign - 1);
  return total;
}

IoctlBytes known_ioctl(std::uint64_t request) {
  for (const Sized& s : kIoctls)
    if (s.request == static_cast<std::uint32_t>(request)) return {s.bytes, s.in, s.out};
  return {};
}

bool may_marshal(const Row& row, Abi abi) {
  switch (kWays[static_cast<std::size_t>(row.call)]) {
    case Way::No: return false;
    case Way::Passed:
      // A poll that is restarted in the kernel is still the same call here: its copy is there.
      return (row.restart != Restart::Block || row.call == Call::poll) &&
             (abi == Abi::X64 ? row.nr64 : row.nr32) >= 0;
    case Way::Copied: return true;
  }
  return false;
}

Plan marshal_plan(const Row& row, Abi abi, const Args& args,
                  bool (*read)(void* to, std::uint64_t guest, std::size_t bytes)) {
  Planner planner(row, abi, args, read);
  const bool good = row.call == Call::socketcall ? planner.take_behind() : planner.take_all();
  return good && planner.fits() ? planner.plan() : Plan{};
}

}  // namespace hpcvmm::sys
