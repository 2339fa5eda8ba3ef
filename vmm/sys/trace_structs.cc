// Contents of the common structures, in strace's words.  Offsets are those of the kernel's ABI headers for
// both ABIs.
#include <arpa/inet.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>

#include "vmm/sys/ioctl.hh"
#include "vmm/sys/trace_print.hh"

namespace hpcvmm::sys {
namespace {

void field(std::string& out, std::string_view name, std::int64_t v) {
  (out += name) += '=';
  put_dec(out, v);
}

// A timespec or timeval at `offset`; wide: 64-bit fields whatever the ABI.
void put_time(std::string& out, const Block& b, std::size_t offset, bool wide, std::string_view fraction) {
  const bool narrow = b.is32 && !wide;
  const std::int64_t sec = narrow ? b.at<std::int32_t>(offset) : b.at<std::int64_t>(offset);
  const std::int64_t sub = narrow ? b.at<std::int32_t>(offset + 4) : b.at<std::int64_t>(offset + 8);
  out += '{';
  field(out, "tv_sec", sec);
  out += ", ";
  field(out, fraction, sub);
  out += '}';
}

void put_time_pair(std::string& out, const Block& b, bool wide, std::string_view fraction, const char* first,
                   const char* second) {
  const std::size_t step = b.is32 && !wide ? 8 : 16;
  out += *first == '\0' ? "[" : "{";
  out += first;
  put_time(out, b, 0, wide, fraction);
  (out += ", ") += second;
  put_time(out, b, step, wide, fraction);
  out += *first == '\0' ? "]" : "}";
}

void put_file_mode(std::string& out, std::uint32_t mode) {
  constexpr std::uint32_t kType = 0170000;
  put_symbols(out, "file_type", mode & kType);
  out += '|';
  put_octal(out, mode & ~kType);
}

void put_device(std::string& out, std::uint64_t dev) {
  out += "makedev(";
  put_hex(out, (dev >> 8U & 0xfffU) | (dev >> 32U & 0xffff'f000U));
  out += ", ";
  put_hex(out, (dev & 0xffU) | (dev >> 12U & 0xffff'ff00U));
  out += ')';
}

void put_stat(std::string& out, std::uint32_t mode, std::int64_t size, std::uint64_t rdev) {
  constexpr std::uint32_t kType = 0170000;
  constexpr std::uint32_t kChar = 0020000;
  constexpr std::uint32_t kBlock = 0060000;
  out += "{st_mode=";
  put_file_mode(out, mode);
  if ((mode & kType) == kChar || (mode & kType) == kBlock) {
    out += ", st_rdev=";
    put_device(out, rdev);
  } else {
    field(out, ", st_size", size);
  }
  out += ", ...}";
}

void put_statx(std::string& out, const Block& b) {
  out += "{stx_mask=";
  put_symbols(out, "statx", b.at<std::uint32_t>(0));
  out += ", stx_attributes=";
  put_hex(out, b.at<std::uint64_t>(8));
  out += ", stx_mode=";
  put_file_mode(out, b.at<std::uint16_t>(28));
  field(out, ", stx_size", b.at<std::int64_t>(40));
  out += ", ...}";
}

void put_handler(std::string& out, std::uint64_t h) {
  if (h == 0) {
    out += "SIG_DFL";
  } else if (h == 1) {
    out += "SIG_IGN";
  } else {
    put_hex(out, h);
  }
}

void put_sigaction(const Printer& p, const Block& b) {
  p.out += "{sa_handler=";
  put_handler(p.out, b.word(0));
  p.out += ", sa_mask=";
  p.sigset(b.at<std::uint64_t>(b.is32 ? 12 : 24));
  p.out += ", sa_flags=";
  put_symbols(p.out, "sa_flags", b.word(1));
  constexpr std::uint64_t kRestorer = 0x04000000;
  if ((b.word(1) & kRestorer) != 0) {
    p.out += ", sa_restorer=";
    put_hex(p.out, b.word(2));
  }
  p.out += '}';
}

void put_stack(std::string& out, const Block& b) {
  out += "{ss_sp=";
  b.word(0) == 0 ? out += "NULL" : (put_hex(out, b.word(0)), out);
  out += ", ss_flags=";
  put_symbols(out, "ss_flags", b.at<std::uint32_t>(b.is32 ? 4 : 8));
  field(out, ", ss_size", static_cast<std::int64_t>(b.word(2)));
  out += '}';
}

// 8192*1024 for round sizes, as strace writes it.
void put_limit(std::string& out, std::uint64_t v, bool is32, std::string_view infinity) {
  constexpr std::uint64_t kUnit = 1024;
  if (v == (is32 ? 0xffff'ffffU : ~0ULL)) {
    out += infinity;
  } else if (v > kUnit && v % kUnit == 0) {
    put_udec(out, v / kUnit);
    out += "*1024";
  } else {
    put_udec(out, v);
  }
}

void put_rlimit(std::string& out, const Block& b, bool wide) {
  const bool is32 = b.is32 && !wide;
  const std::string_view infinity = wide ? "RLIM64_INFINITY" : "RLIM_INFINITY";
  out += "{rlim_cur=";
  put_limit(out, is32 ? b.at<std::uint32_t>(0) : b.at<std::uint64_t>(0), is32, infinity);
  out += ", rlim_max=";
  put_limit(out, is32 ? b.at<std::uint32_t>(4) : b.at<std::uint64_t>(8), is32, infinity);
  out += '}';
}

void put_wstatus(std::string& out, std::uint32_t s) {
  const std::uint32_t low = s & 0x7fU;
  const std::uint32_t high = s >> 8U & 0xffU;
  out += "[{";
  if (s == 0xffff) {
    out += "WIFCONTINUED(s)";
  } else if (low == 0) {
    out += "WIFEXITED(s) && WEXITSTATUS(s) == ";
    put_udec(out, high);
  } else if (low == 0x7f) {
    out += "WIFSTOPPED(s) && WSTOPSIG(s) == ";
    put_signal(out, high);
  } else {
    out += "WIFSIGNALED(s) && WTERMSIG(s) == ";
    put_signal(out, low);
    if ((s & 0x80U) != 0) out += " && WCOREDUMP(s)";
  }
  out += "}]";
}

void put_epoll_event(std::string& out, const Block& b) {
  out += "{events=";
  put_symbols(out, "epoll_events", b.at<std::uint32_t>(0));
  out += ", data={u32=";
  put_udec(out, b.at<std::uint32_t>(4));
  out += ", u64=";
  put_udec(out, b.at<std::uint64_t>(4));
  out += "}}";
}

void put_utsname(std::string& out, const Block& b) {
  constexpr std::size_t kField = 65;
  const auto text = [&](std::size_t i) {
    const char* s = static_cast<const char*>(static_cast<const void*>(b.bytes.data() + i * kField));
    put_quoted(out, {s, ::strnlen(s, kField)}, false);
  };
  out += "{sysname=";
  text(0);
  out += ", nodename=";
  text(1);
  out += ", ...}";
}

void put_siginfo(std::string& out, const Block& b) {
  out += "{si_signo=";
  put_signal(out, b.at<std::uint32_t>(0));
  field(out, ", si_code", b.at<std::int32_t>(8));
  out += ", ...}";
}

void put_flock(const Printer& p, std::string& out, const Block& b, bool wide) {
  constexpr const char* kTypes[] = {"F_RDLCK", "F_WRLCK", "F_UNLCK"};
  const auto type = b.at<std::uint16_t>(0);
  const bool packed = p.is32();
  const bool narrow = packed && !wide;
  const std::size_t at = narrow ? 4 : (packed ? 4 : 8);
  out += "{l_type=";
  type < 3 ? out += kTypes[type] : (put_udec(out, type), out);
  out += ", l_whence=";
  put_symbols(out, "seek", b.at<std::uint16_t>(2));
  field(out, ", l_start", narrow ? b.at<std::int32_t>(at) : b.at<std::int64_t>(at));
  field(out, ", l_len", narrow ? b.at<std::int32_t>(at + 4) : b.at<std::int64_t>(at + 8));
  out += '}';
}

bool put_times(std::string& out, std::string_view kind, const Block& b, std::size_t bytes) {
  const bool wide1 = bytes == 16;  // one pair of 64-bit words
  const bool wide2 = bytes == 32;
  if (kind == "timespec") return put_time(out, b, 0, wide1, "tv_nsec"), true;
  if (kind == "timeval") return put_time(out, b, 0, wide1, "tv_usec"), true;
  if (kind == "timespec2") return put_time_pair(out, b, wide2, "tv_nsec", "", ""), true;
  if (kind == "timeval2") return put_time_pair(out, b, wide2, "tv_usec", "", ""), true;
  if (kind == "itimerval") return put_time_pair(out, b, wide2, "tv_usec", "it_interval=", "it_value="), true;
  if (kind == "itimerspec") return put_time_pair(out, b, wide2, "tv_nsec", "it_interval=", "it_value="), true;
  return false;
}

bool put_number(std::string& out, std::string_view kind, const Block& b, std::size_t bytes) {
  std::int64_t v = b.at<std::int32_t>(0);
  if (kind == "loff") v = b.at<std::int64_t>(0);
  if (kind == "long" || kind == "ptr") v = b.sword(0);
  if (kind == "uid") v = bytes == 2 ? b.at<std::uint16_t>(0) : b.at<std::uint32_t>(0);
  if (kind == "int2") {
    out += '[';
    put_dec(out, v);
    out += ", ";
    put_dec(out, b.at<std::int32_t>(4));
    out += ']';
    return true;
  }
  if (kind != "int" && kind != "long" && kind != "loff" && kind != "uid" && kind != "ptr") return false;
  out += '[';
  kind == "ptr" ? put_hex(out, b.word(0)) : put_dec(out, v);
  out += ']';
  return true;
}

}  // namespace

bool put_struct(const Printer& p, std::string_view kind, const Block& b, std::size_t bytes) {
  std::string& out = p.out;
  if (put_times(out, kind, b, bytes) || put_number(out, kind, b, bytes)) return true;
  if (kind == "stat") {
    b.is32 ? put_stat(out, b.at<std::uint16_t>(8), b.at<std::uint32_t>(20), b.at<std::uint16_t>(16))
           : put_stat(out, b.at<std::uint32_t>(24), b.at<std::int64_t>(48), b.at<std::uint64_t>(40));
  } else if (kind == "stat64") {
    put_stat(out, b.at<std::uint32_t>(16), b.at<std::int64_t>(44), b.at<std::uint64_t>(32));
  } else if (kind == "statx") {
    put_statx(out, b);
  } else if (kind == "sigaction") {
    put_sigaction(p, b);
  } else if (kind == "stack") {
    put_stack(out, b);
  } else if (kind == "rlimit" || kind == "rlimit64") {
    put_rlimit(out, b, kind == "rlimit64");
  } else if (kind == "wstatus") {
    put_wstatus(out, b.at<std::uint32_t>(0));
  } else if (kind == "epoll_event") {
    put_epoll_event(out, b);
  } else if (kind == "utsname") {
    put_utsname(out, b);
  } else if (kind == "siginfo") {
    put_siginfo(out, b);
  } else if (kind == "flock" || kind == "flock64") {
    put_flock(p, out, b, kind == "flock64");
  } else if (kind == "sigset") {
    p.sigset(b.at<std::uint64_t>(0));
  } else {
    return false;
  }
  return true;
}

void Printer::sockaddr_at(std::uint64_t guest, std::uint64_t bytes) const {
  Block b;
  const std::size_t n = std::min<std::uint64_t>(bytes, sizeof(sockaddr_storage));
  if (n < sizeof(sa_family_t) || !read(b, guest, n)) return pointer(guest);
  const auto family = b.at<std::uint16_t>(0);
  const void* raw = b.bytes.data();
  std::array<char, INET6_ADDRSTRLEN> text{};
  out += "{sa_family=";
  put_symbols(out, "af", family);
  if (family == AF_UNIX && n > 2) {
    const char* path = static_cast<const char*>(raw) + 2;
    const bool is_abstract = *path == '\0';
    out += is_abstract ? ", sun_path=@" : ", sun_path=";
    put_quoted(
        out, is_abstract ? std::string_view(path + 1, n - 3) : std::string_view(path, ::strnlen(path, n - 2)),
        false);
  } else if (family == AF_INET && n >= 8) {
    out += ", sin_port=htons(";
    put_udec(out, ntohs(b.at<std::uint16_t>(2)));
    (((out += "), sin_addr=inet_addr(\"") +=
      ::inet_ntop(AF_INET, static_cast<const char*>(raw) + 4, text.data(), text.size()))) += "\")";
  } else if (family == AF_INET6 && n >= 28) {
    out += ", sin6_port=htons(";
    put_udec(out, ntohs(b.at<std::uint16_t>(2)));
    out += "), sin6_flowinfo=htonl(";
    put_udec(out, ntohl(b.at<std::uint32_t>(4)));
    (((out += "), inet_pton(AF_INET6, \"") +=
      ::inet_ntop(AF_INET6, static_cast<const char*>(raw) + 8, text.data(), text.size()))) +=
        "\", &sin6_addr), sin6_scope_id=";
    put_udec(out, b.at<std::uint32_t>(24));
  } else if (n > 2) {
    out += ", sa_data=";
    put_quoted(out, {static_cast<const char*>(raw) + 2, n - 2}, false);
  }
  out += '}';
}

void Printer::iovec_at(std::uint64_t guest, std::uint64_t count, std::int64_t limit) const {
  constexpr std::uint64_t kMost = 32;  // strace's limit for arrays
  const std::size_t size = is32() ? 8 : 16;
  out += '[';
  for (std::uint64_t i = 0; i < count; ++i) {
    if (i != 0) out += ", ";
    if (i == kMost) {
      out += "...";
      break;
    }
    Block b;
    if (!read(b, guest + i * size, size)) {
      pointer(guest + i * size);
      break;
    }
    const auto len = static_cast<std::int64_t>(b.word(1));
    const std::int64_t shown = limit < 0 ? len : std::min(len, limit);
    out += "{iov_base=";
    buffer(b.word(0), static_cast<std::uint64_t>(std::max<std::int64_t>(shown, 0)));
    field(out, ", iov_len", len);
    out += '}';
    if (limit >= 0) limit -= shown;
  }
  out += ']';
}

void Printer::msghdr_at(std::uint64_t guest, std::int64_t limit) const {
  Block b;
  if (!read(b, guest, is32() ? 28 : 56)) return pointer(guest);
  const auto namelen = b.at<std::uint32_t>(is32() ? 4 : 8);
  const std::uint64_t iov = b.word(2);
  const std::uint64_t iovlen = b.word(3);
  out += "{msg_name=";
  b.word(0) == 0 ? pointer(0) : sockaddr_at(b.word(0), namelen);
  field(out, ", msg_namelen", namelen);
  out += ", msg_iov=";
  iov == 0 ? pointer(0) : iovec_at(iov, iovlen, limit);
  field(out, ", msg_iovlen", static_cast<std::int64_t>(iovlen));
  if (b.word(4) != 0 && b.word(5) != 0) {
    out += ", msg_control=";
    pointer(b.word(4));
  }
  field(out, ", msg_controllen", static_cast<std::int64_t>(b.word(5)));
  out += ", msg_flags=";
  put_symbols(out, "msg", b.at<std::uint32_t>(is32() ? 24 : 48));
  out += '}';
}

void put_ioctl_arg(const Printer& p) {
  const auto request = static_cast<std::uint32_t>(p.arg(1));
  const IoctlRow rule = ioctl_rule(request);
  const std::uint64_t guest = p.arg(2);
  Block b;
  b.is32 = p.is32();
  const bool is_plain = rule.rule == IoctlRule::Value || rule.rule == IoctlRule::Fd;
  if (is_plain) return put_hex(p.out, guest);
  if (request == TIOCGWINSZ || request == TIOCSWINSZ) {
    if ((request == TIOCGWINSZ && p.failed) || !p.read(b, guest, 8)) return p.pointer(guest);
    constexpr const char* kNames[] = {"{ws_row", ", ws_col", ", ws_xpixel", ", ws_ypixel"};
    for (std::size_t i = 0; i < 4; ++i) field(p.out, kNames[i], b.at<std::uint16_t>(i * 2));
    p.out += '}';
    return;
  }
  const bool is_int = rule.bytes == 4 && rule.rule == IoctlRule::Flat && *rule.name != '\0';
  if (!is_int || p.failed || !p.read(b, guest, 4)) return p.pointer(guest);
  p.out += '[';
  put_dec(p.out, b.at<std::int32_t>(0));
  p.out += ']';
}

}  // namespace hpcvmm::sys
