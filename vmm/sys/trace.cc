#include "vmm/sys/trace.hh"

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstring>

#include "hpcvmm/base/layout.hh"
#include "vmm/sys/ioctl.hh"
#include "vmm/sys/trace_print.hh"

namespace hpcvmm::sys {
namespace {

constexpr std::size_t kShown = 32;      // bytes of a buffer, as strace -s
constexpr std::size_t kLongest = 4096;  // of a path
constexpr std::size_t kColumn = 40;     // where "= result" begins

void put_number(std::string& out, std::uint64_t v, int base) {
  std::array<char, 24> text;
  const auto r = std::to_chars(text.data(), text.data() + text.size(), v, base);
  out.append(text.data(), r.ptr);
}

bool is_out(ArgKind k) {
  switch (k) {
    case ArgKind::OutBuf:
    case ArgKind::OutStruct:
    case ArgKind::OutIovec:
    case ArgKind::OutMsghdr:
    case ArgKind::OutMmsghdr:
    case ArgKind::OutSockaddr:
    case ArgKind::IoctlArg: return true;
    default: return false;
  }
}

std::uint64_t opened_with(const Printer& p, unsigned mode_arg) { return p.arg(mode_arg - 1); }

// Arguments that the command makes meaningless are not printed.
unsigned futex_words(std::uint64_t op) {
  switch (op & 0x7fU) {
    case 1:  // WAKE
    case 7:  // UNLOCK_PI
    case 8:  // TRYLOCK_PI
      return op % 128 == 1 ? 3 : 2;
    case 0:  // WAIT
    case 6:  // LOCK_PI
      return 4;
    default: return 6;
  }
}

bool fcntl_has_arg(std::uint64_t cmd) {
  switch (cmd & 0xffff'ffffU) {
    case F_GETFD:
    case F_GETFL:
    case F_GETOWN:
    case F_GETSIG:
    case F_GETLEASE:
    case F_GETPIPE_SZ:
    case F_GET_SEALS: return false;
    default: return true;
  }
}

bool is_visible(const Printer& p, unsigned i) {
  switch (p.row.call) {
    case Call::open:
    case Call::openat:
    case Call::mq_open: {
      constexpr std::uint64_t kMakes = O_CREAT | (O_TMPFILE & ~O_DIRECTORY);
      const bool is_tail = p.row.args[i].kind == ArgKind::Mode || (p.row.call == Call::mq_open && i == 3);
      return !is_tail || (opened_with(p, p.row.call == Call::mq_open ? 2 : i) & kMakes) != 0;
    }
    case Call::fcntl:
    case Call::fcntl64: return i != 2 || fcntl_has_arg(p.arg(1));
    case Call::futex:
    case Call::futex_time64: return i < futex_words(p.arg(1));
    case Call::mremap: return i != 4 || (p.arg(3) & MREMAP_FIXED) != 0;
    case Call::preadv2:
    case Call::pwritev2: return i != 4;
    case Call::ioctl:
      return i != 2 || ioctl_rule(static_cast<std::uint32_t>(p.arg(1))).rule != IoctlRule::Value ||
             p.arg(2) != 0;
    default: return true;
  }
}

// A length argument; through a pointer where it is one.  A result cuts what was filled.
std::uint64_t length_of(const Printer& p, const Arg& a) {
  const auto i = static_cast<unsigned>(a.len_arg);
  if (!is_pointer(p.row.args[i].kind)) return p.arg(i);
  Block b;
  return p.read(b, p.arg(i), 4) ? b.at<std::uint32_t>(0) : 0;
}

void put_flags(const Printer& p, unsigned i) {
  const Arg& a = p.row.args[i];
  const std::string_view set = a.fmt;
  const std::uint64_t v = p.arg(i);
  const bool opens = p.row.call == Call::open || p.row.call == Call::openat || p.row.call == Call::mq_open ||
                     p.row.call == Call::open_by_handle_at || p.row.call == Call::fanotify_init;
  if (set == "proto") {
    constexpr std::uint64_t kInet = 2;
    constexpr std::uint64_t kInet6 = 10;
    const bool is_ip = p.arg(0) == kInet || p.arg(0) == kInet6;
    if (is_ip && v == 0) {
      p.out += "IPPROTO_IP";
    } else if (is_ip && (v == 6 || v == 17)) {
      p.out += v == 6 ? "IPPROTO_TCP" : "IPPROTO_UDP";
    } else {
      put_udec(p.out, v & 0xffff'ffffU);
    }
  } else if (set == "so" && (p.arg(1) & 0xffff'ffffU) != 1) {
    put_udec(p.out, v & 0xffff'ffffU);  // names are those of SOL_SOCKET
  } else if (set == "open" && !opens) {
    put_symbols(p.out, "open_flags_only", v);
  } else if (!put_symbols(p.out, set, v)) {
    put_hex(p.out, v);
  }
}

void put_strings(const Printer& p, std::uint64_t guest, bool only_count) {
  constexpr unsigned kMost = 32;
  const std::size_t step = p.is32() ? 4 : 8;
  if (!only_count) p.out += '[';
  unsigned n = 0;
  for (;; ++n) {
    Block b;
    b.is32 = p.is32();
    if (!p.read(b, guest + n * step, step) || b.word(0) == 0) break;
    if (only_count) continue;
    if (n != 0) p.out += ", ";
    if (n == kMost) {
      p.out += "...";
      break;
    }
    p.string(b.word(0), kLongest);
  }
  if (!only_count) {
    p.out += ']';
    return;
  }
  p.pointer(guest);
  p.out += " /* ";
  put_udec(p.out, n);
  p.out += n == 1 ? " var */" : " vars */";
}

void put_fcntl_arg(const Printer& p, unsigned i) {
  const std::uint64_t cmd = p.arg(1) & 0xffff'ffffU;
  const Arg lock{ArgKind::InOutStruct, "", -1, 16, 32, "flock"};
  const Arg lock64{ArgKind::InOutStruct, "", -1, 24, 32, "flock64"};
  if (p.row.call == Call::semctl) return p.pointer(p.arg(i));
  if (cmd == F_SETFD) {
    put_symbols(p.out, "fd_flags", p.arg(i));
  } else if (cmd == F_SETFL) {
    put_symbols(p.out, "open", p.arg(i));
  } else if (cmd >= 5 && cmd <= 7) {
    p.struct_at(lock, p.arg(i), p.size_of(lock));
  } else if ((cmd >= 12 && cmd <= 14) || (cmd >= F_OFD_GETLK && cmd <= F_OFD_SETLKW)) {
    p.struct_at(lock64, p.arg(i), p.size_of(lock64));
  } else {
    put_dec(p.out, static_cast<std::int32_t>(p.arg(i)));
  }
}

void put_word(const Printer& p, unsigned i) {
  const std::uint64_t v = p.arg(i);
  switch (p.row.args[i].kind) {
    case ArgKind::Long:
    case ArgKind::Off64: return put_dec(p.out, static_cast<std::int64_t>(v));
    case ArgKind::Size: return put_udec(p.out, v);
    case ArgKind::UInt: return put_udec(p.out, v & 0xffff'ffffU);
    case ArgKind::Hex: return put_hex(p.out, v);
    case ArgKind::Mode: return put_octal(p.out, v & 0xffff'ffffU);
    case ArgKind::Signal: return put_signal(p.out, v & 0xffff'ffffU);
    case ArgKind::Flags: return put_flags(p, i);
    case ArgKind::Uid: {
      const auto id = static_cast<std::uint32_t>(v);
      return id == ~0U ? put_dec(p.out, -1) : put_udec(p.out, id);
    }
    case ArgKind::DirFd:
      if (static_cast<std::int32_t>(v) == AT_FDCWD) {
        p.out += "AT_FDCWD";
        return;
      }
      break;
    default: break;
  }
  put_dec(p.out, static_cast<std::int32_t>(v));
}

// Buffers and arrays; `bytes` was counted in elements.
void put_buffer(const Printer& p, unsigned i) {
  const Arg& a = p.row.args[i];
  std::uint64_t n = length_of(p, a);
  const bool fills = a.kind == ArgKind::OutBuf;
  if (fills && p.failed) return p.pointer(p.arg(i));
  if (std::string_view(a.fmt) == "cstring") return p.string(p.arg(i), kLongest);
  const std::string_view fmt = a.fmt;
  if (fmt == "dirents" || fmt == "cpuset" || fmt == "open_how" || fmt == "clone_args")
    return p.pointer(p.arg(i));
  if (fmt == "sigset") return p.struct_at(a, p.arg(i), 8);
  if (fills && p.result >= 0) n = std::min<std::uint64_t>(n, static_cast<std::uint64_t>(p.result));
  if (*a.fmt != '\0') return p.array_at(a, p.arg(i), n);
  if (a.size64 > 1) return p.pointer(p.arg(i));
  p.buffer(p.arg(i), n, p.row.call == Call::getrandom);
}

void put_pointer(const Printer& p, unsigned i) {
  const Arg& a = p.row.args[i];
  const std::uint64_t v = p.arg(i);
  if (v == 0) {
    p.out += "NULL";
    return;
  }
  // A result caps what a vector was filled with.
  const std::int64_t filled = p.exiting && !p.failed ? p.result : -1;
  switch (a.kind) {
    case ArgKind::Path:
    case ArgKind::String: return p.string(v, kLongest);
    case ArgKind::InBuf:
    case ArgKind::OutBuf:
    case ArgKind::InOutBuf: return put_buffer(p, i);
    case ArgKind::OutStruct:
      if (p.failed) break;
      return p.struct_at(a, v, p.size_of(a));
    case ArgKind::InStruct:
    case ArgKind::InOutStruct: return p.struct_at(a, v, p.size_of(a));
    case ArgKind::InIovec: return p.iovec_at(v, length_of(p, a), -1);
    case ArgKind::OutIovec:
      if (p.failed) break;
      return p.iovec_at(v, length_of(p, a), filled);
    case ArgKind::InMsghdr: return p.msghdr_at(v, -1);
    case ArgKind::OutMsghdr:
      if (p.failed) break;
      return p.msghdr_at(v, filled);
    case ArgKind::InSockaddr: return p.sockaddr_at(v, length_of(p, a));
    case ArgKind::OutSockaddr:
      if (p.failed) break;
      return p.sockaddr_at(v, length_of(p, a));
    case ArgKind::InOutLen:
    case ArgKind::SockOptVal: {
      const Arg number{ArgKind::InOutStruct, "", -1, 4, 4, "int"};
      const bool is_int = a.kind == ArgKind::InOutLen || length_of(p, a) == 4;
      if (!is_int) break;
      return p.struct_at(number, v, 4);
    }
    case ArgKind::StringArray: return put_strings(p, v, std::string_view(a.name) == "envp");
    case ArgKind::IoctlArg: return put_ioctl_arg(p);
    case ArgKind::FcntlArg: return put_fcntl_arg(p, i);
    default: break;
  }
  p.pointer(v);
}

// The fourth word of futex: a time for operations that wait, a number for the others.
void put_futex_time(const Printer& p) {
  constexpr std::uint64_t kCommand = 0x7f;
  constexpr std::uint64_t kRequeue = 3, kWakeOp = 5;
  const std::uint64_t op = p.arg(1) & kCommand;
  if (op >= kRequeue && op <= kWakeOp) return put_udec(p.out, p.arg(3) & 0xffff'ffffU);
  const std::uint16_t size32 = p.row.call == Call::futex ? 8 : 16;
  const Arg time{ArgKind::InStruct, "", -1, size32, 16, "timespec"};
  p.struct_at(time, p.arg(3), p.size_of(time));
}

void put_arg(const Printer& p, unsigned i) {
  const ArgKind k = p.row.args[i].kind;
  if (k == ArgKind::FcntlArg) return put_fcntl_arg(p, i);
  if (i == 3 && (p.row.call == Call::futex || p.row.call == Call::futex_time64)) return put_futex_time(p);
  is_pointer(k) ? put_pointer(p, i) : put_word(p, i);
}

// clone: strace names the words and gives them in one order for both ABIs.
void put_clone(const Printer& p) {
  constexpr std::uint64_t kSetTls = 0x80000, kParentTid = 0x100000, kChildTid = 0x200000 | 0x1000000;
  const std::uint64_t flags = p.arg(0);
  p.out += "child_stack=";
  p.pointer(p.arg(1));
  p.out += ", flags=";
  put_symbols(p.out, "clone", flags);
  const unsigned child = p.is32() ? 4 : 3;
  const unsigned tls = p.is32() ? 3 : 4;
  if ((flags & kParentTid) != 0) {
    p.out += ", parent_tid=";
    p.exiting ? p.struct_at({ArgKind::OutStruct, "", -1, 4, 4, "int"}, p.arg(2), 4) : p.pointer(p.arg(2));
  }
  if ((flags & kSetTls) != 0) {
    p.out += ", tls=";
    p.pointer(p.args[tls]);
  }
  if ((flags & kChildTid) != 0) {
    p.out += ", child_tidptr=";
    p.pointer(p.args[child]);
  }
}

unsigned put_args(const Printer& p, unsigned from) {
  const unsigned count = shape_of(p.row).count;
  if (p.row.call == Call::clone) {
    if (p.exiting) put_clone(p);
    return 0;
  }
  bool first = true;  // the entry part ends with the comma
  for (unsigned i = from; i < count; ++i) {
    if (!is_visible(p, i)) continue;
    if (!first) p.out += ", ";
    first = false;
    if (!p.exiting && is_out(p.row.args[i].kind)) return i;
    put_arg(p, i);
  }
  return count;
}

void put_column(std::string& out, std::size_t line_start) {
  if (out.back() != ' ') out += ' ';
  if (line_start == std::string::npos) return;
  const std::size_t width = out.size() - line_start;
  if (width < kColumn) out.append(kColumn - width, ' ');
}

void put_restart(std::string& out, Restart r) {
  switch (r) {
    case Restart::NoHand: out += "? ERESTARTNOHAND (To be restarted if no handler)"; return;
    case Restart::NoIntr: out += "? ERESTARTNOINTR (To be restarted)"; return;
    case Restart::Block: out += "? ERESTART_RESTARTBLOCK (Interrupted by signal)"; return;
    case Restart::Never:
    case Restart::Sys: out += "? ERESTARTSYS (To be restarted if SA_RESTART is set)"; return;
  }
}

void put_value(const Printer& p) {
  const auto v = static_cast<std::uint64_t>(p.result);
  switch (p.row.call) {
    case Call::mmap:
    case Call::mmap2:
    case Call::old_mmap:
    case Call::mremap:
    case Call::brk:
    case Call::shmat: return put_hex(p.out, p.is32() ? v & 0xffff'ffffU : v);
    case Call::umask: return put_octal(p.out, v);
    case Call::fcntl:
    case Call::fcntl64: {
      const std::uint64_t cmd = p.arg(1) & 0xffff'ffffU;
      if (cmd != F_GETFL && (cmd != F_GETFD || v == 0)) break;
      put_hex(p.out, v);
      p.out += " (flags ";
      put_symbols(p.out, cmd == F_GETFL ? "open" : "fd_flags", v);
      p.out += ')';
      return;
    }
    default: break;
  }
  put_dec(p.out, p.result);
}

}  // namespace

void put_dec(std::string& out, std::int64_t v) {
  if (v < 0) out += '-';
  put_number(out, v < 0 ? 0 - static_cast<std::uint64_t>(v) : static_cast<std::uint64_t>(v), 10);
}
void put_udec(std::string& out, std::uint64_t v) { put_number(out, v, 10); }
void put_hex(std::string& out, std::uint64_t v) {
  if (v != 0) out += "0x";
  put_number(out, v, 16);
}
void put_octal(std::string& out, std::uint64_t v) {
  // At least three digits, as file modes are read.
  out += '0';
  if (v < 8) out += '0';
  put_number(out, v, 8);
}

void put_signal(std::string& out, std::uint64_t nr) {
  constexpr std::uint64_t kFirstRt = 32;
  const char* name = nr > 0 && nr < kFirstRt ? ::sigabbrev_np(static_cast<int>(nr)) : nullptr;
  if (name != nullptr) {
    (out += "SIG") += name;
  } else if (nr == kFirstRt) {
    out += "SIGRTMIN";
  } else if (nr > kFirstRt && nr <= 64) {
    out += "SIGRT_";
    put_udec(out, nr - kFirstRt);
  } else {
    put_udec(out, nr);
  }
}

void put_quoted(std::string& out, std::string_view bytes, bool cut, bool all_hex) {
  constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const auto c = static_cast<unsigned char>(bytes[i]);
    const std::size_t escape = std::string_view("\n\t\r\v\f\"\\").find(bytes[i]);
    if (all_hex) {
      ((out += "\\x") += kHex[c >> 4U]) += kHex[c & 15U];
    } else if (escape != std::string_view::npos) {
      (out += '\\') += "ntrvf\"\\"[escape];
    } else if (c >= ' ' && c < 0x7f) {
      out += bytes[i];
    } else {
      // Short unless a digit follows, which would be read as part of the escape.
      const bool digit_next = i + 1 < bytes.size() && bytes[i + 1] >= '0' && bytes[i + 1] <= '9';
      out += '\\';
      if (digit_next && c < 64) out += '0';
      if (digit_next && c < 8) out += '0';
      put_number(out, c, 8);
    }
  }
  out += '"';
  if (cut) out += "...";
}

bool Printer::read(Block& b, std::uint64_t guest, std::size_t bytes) const {
  b.is32 = is32();
  return gate.copy_in(b.bytes.data(), guest, std::min(bytes, b.bytes.size()));
}

void Printer::pointer(std::uint64_t guest) const { guest == 0 ? out += "NULL" : (put_hex(out, guest), out); }

void Printer::string(std::uint64_t guest, std::size_t most) const {
  std::string s;
  std::array<char, 256> piece;
  // Never across a page that the string may not reach into.
  while (s.size() < most) {
    const std::uint64_t at = guest + s.size();
    const std::size_t n = std::min<std::uint64_t>(piece.size(), kPageSize - at % kPageSize);
    if (!gate.copy_in(piece.data(), at, n)) {
      if (s.empty()) return pointer(guest);
      break;
    }
    const std::size_t len = ::strnlen(piece.data(), n);
    s.append(piece.data(), len);
    if (len < n) return put_quoted(out, s, false);
  }
  put_quoted(out, s, true);
}

void Printer::buffer(std::uint64_t guest, std::uint64_t bytes, bool all_hex) const {
  std::array<char, kShown> text;
  const std::size_t n = std::min<std::uint64_t>(bytes, kShown);
  if (guest == 0 || (n != 0 && !gate.copy_in(text.data(), guest, n))) return pointer(guest);
  put_quoted(out, {text.data(), n}, bytes > n, all_hex);
}

void Printer::struct_at(const Arg& a, std::uint64_t guest, std::size_t bytes) const {
  Block b;
  if (guest == 0 || *a.fmt == '\0' || !read(b, guest, bytes)) return pointer(guest);
  if (!put_struct(*this, a.fmt, b, bytes)) pointer(guest);
}

void Printer::sigset(std::uint64_t mask) const {
  constexpr int kSignals = 64;
  constexpr int kMany = kSignals * 2 / 3;
  const bool inverted = std::popcount(mask) >= kMany;
  out += inverted ? "~[" : "[";
  bool first = true;
  for (unsigned nr = 1; nr <= kSignals; ++nr) {
    if (((mask >> (nr - 1) & 1U) != 0) == inverted) continue;
    if (!first) out += ' ';
    first = false;
    const std::size_t at = out.size();
    put_signal(out, nr);
    out.erase(at, 3);  // strace leaves "SIG" out of sets
  }
  out += ']';
}

void Printer::array_at(const Arg& a, std::uint64_t guest, std::uint64_t count) const {
  constexpr std::uint64_t kMost = 32;
  const std::string_view fmt = a.fmt;
  const std::size_t size = size_of(a);
  out += '[';
  for (std::uint64_t i = 0; i < count; ++i) {
    if (i != 0) out += ", ";
    Block b;
    if (i == kMost) {
      out += "...";
      break;
    }
    if (!read(b, guest + i * size, size)) {
      pointer(guest + i * size);
      break;
    }
    if (fmt == "pollfd") {
      out += "{fd=";
      put_dec(out, b.at<std::int32_t>(0));
      out += ", events=";
      put_symbols(out, "poll_events", b.at<std::uint16_t>(4));
      out += '}';
    } else if (fmt == "gids") {
      put_udec(out, size == 2 ? b.at<std::uint16_t>(0) : b.at<std::uint32_t>(0));
    } else if (!put_struct(*this, fmt, b, size)) {
      out += "...";
      break;
    }
  }
  out += ']';
}

unsigned format_call(std::string& out, const Row& row, Abi abi, const Args& args, const HostGate& gate) {
  (out += row.name) += '(';
  return put_args({out, row, abi, args, gate}, 0);
}

void format_result(std::string& out, const Row& row, Abi abi, const Args& args, const HostGate& gate,
                   SysRet result, unsigned next, std::size_t line_start) {
  const bool failed = result.is_error() || result.is_restart();
  const Printer p{out, row, abi, args, gate, true, failed, result.value()};
  put_args(p, next);
  out += ')';
  put_column(out, line_start);
  out += "= ";
  if (result.is_restart()) return put_restart(out, row.restart);
  if (!result.is_error()) return put_value(p);
  const auto e = static_cast<int>(-result.value());
  const char* name = ::strerrorname_np(e);
  const char* text = ::strerrordesc_np(e);
  out += "-1 ";
  name != nullptr ? out += name : (put_dec(out, e), out);
  if (text != nullptr) ((out += " (") += text) += ')';
}

void format_no_result(std::string& out, std::size_t line_start) {
  out += ')';
  put_column(out, line_start);
  out += "= ?";
}

}  // namespace hpcvmm::sys
