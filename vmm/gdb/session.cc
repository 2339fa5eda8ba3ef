#include "vmm/gdb/session.hh"

#include <algorithm>

#include "vmm/gdb/signal_map.hh"

namespace hpcvmm::gdb {
namespace {

using Reply = Session::Reply;
using Then = Session::Then;

constexpr std::size_t kMostMemory = kMaxPacket / 2 - 8;

Reply error() { return {"E01", true, Then::Stay}; }
Reply ok() { return {"OK", true, Then::Stay}; }
Reply text(std::string body) { return {std::move(body), true, Then::Stay}; }
Reply unknown() { return text(""); }
Reply resume() { return {"", false, Then::Resume}; }

bool starts(std::string_view s, std::string_view with) { return s.substr(0, with.size()) == with; }

/// "F" result, with the data of a call that gives some; "F-1,errno" for a negative result.
std::string file_reply(std::int64_t rc, std::string_view data) {
  if (rc < 0) return "F-1," + number(static_cast<std::uint64_t>(-rc));
  std::string out = "F" + number(static_cast<std::uint64_t>(rc));
  if (data.data() != nullptr) out += ";" + std::string(data);
  return out;
}

void put_byte(std::string& out, int v) { put_hex_byte(out, static_cast<std::uint8_t>(v)); }

}  // namespace

Reply Session::handle(std::string_view packet) {
  if (packet.empty()) return unknown();
  const std::string_view rest = packet.substr(1);
  switch (packet.front()) {
    case '?': return text(report(last_));
    case 'g': return rest.empty() ? read_registers() : error();
    case 'G': return write_registers(rest);
    case 'p': return read_one(rest);
    case 'P': return write_one(rest);
    case 'm': return read_memory(rest);
    case 'M': return write_memory(rest, false);
    case 'X': return write_memory(rest, true);
    case 'Z': return breakpoint(rest, true);
    case 'z': return breakpoint(rest, false);
    case 'H': return select_thread(rest);
    case 'T': return alive(rest);
    case 'c':
    case 's':
    case 'C':
    case 'S': return resume_one(packet);
    case 'v': return letter_v(packet);
    case 'q': return query(packet);
    case 'Q': return set_mode(packet);
    case 'D': return {"OK", true, Then::Detach};
    case 'k': return {"", false, Then::Kill};
    default: return unknown();
  }
}

std::string Session::report(const Stop& stop) {
  last_ = stop;
  std::string out;
  switch (stop.kind) {
    case Stop::Kind::Exited:
      out = "W";
      put_byte(out, stop.value);
      if (with_pids_) out += ";process:" + number(static_cast<std::uint64_t>(target_.pid()));
      return out;
    case Stop::Kind::Killed:
      out = "X";
      put_byte(out, to_gdb_signal(stop.value));
      if (with_pids_) out += ";process:" + number(static_cast<std::uint64_t>(target_.pid()));
      return out;
    case Stop::Kind::Breakpoint:
    case Stop::Kind::Signal: break;
  }
  general_ = stop.tid;
  out = "T";
  put_byte(out, to_gdb_signal(stop.value));
  out += "thread:" + thread_id(stop.tid) + ";";
  if (stop.kind == Stop::Kind::Breakpoint) out += "swbreak:;";
  return out;
}

int Session::general_thread() { return general_ > 0 ? static_cast<int>(general_) : last_.tid; }

std::string Session::thread_id(int tid) const {
  const std::string id = number(static_cast<std::uint64_t>(tid));
  return with_pids_ ? "p" + number(static_cast<std::uint64_t>(target_.pid())) + "." + id : id;
}

Reply Session::query(std::string_view packet) {
  if (starts(packet, "qSupported")) {
    with_pids_ = packet.find("multiprocess+") != std::string_view::npos;
    return text(
        "PacketSize=" + number(kMaxPacket) + (with_pids_ ? ";multiprocess+" : "") +
        ";QStartNoAckMode+;swbreak+;vContSupported+;QPassSignals+;qXfer:features:read+;qXfer:auxv:read+;"
        "qXfer:exec-file:read+;qXfer:siginfo:read+");
  }
  if (starts(packet, "qXfer:")) return query_transfer(packet);
  if (packet == "qC") return text("QC" + thread_id(general_thread()));
  if (packet == "qAttached" || starts(packet, "qAttached:")) return text("0");
  if (starts(packet, "qSymbol")) return ok();
  return query_threads(packet);
}

Reply Session::query_threads(std::string_view packet) {
  if (packet == "qfThreadInfo") {
    std::string list;
    for (const int tid : target_.threads()) {
      if (list.size() + 32 > kMaxPacket / 2) break;
      list += (list.empty() ? "m" : ",") + thread_id(tid);
    }
    return text(list.empty() ? "l" : list);
  }
  if (packet == "qsThreadInfo") return text("l");
  if (starts(packet, "qThreadExtraInfo,")) {
    Scanner s(packet.substr(17));
    std::int64_t tid = 0;
    if (!s.thread(tid) || !s.empty() || tid <= 0) return error();
    return text(to_hex(target_.thread_name(static_cast<int>(tid))));
  }
  return unknown();
}

Reply Session::query_transfer(std::string_view packet) {
  Scanner s(packet);
  std::string_view document;
  std::string info;
  if (s.literal("qXfer:features:read:")) {
    if (!s.literal("target.xml:")) return text("E00");
    document = target_xml(target_.abi());
  } else if (s.literal("qXfer:auxv:read::")) {
    document = target_.auxv();
  } else if (s.literal("qXfer:exec-file:read:")) {
    static_cast<void>(s.until(":"));  // the pid: there is one program
    if (!s.literal(":")) return error();
    document = target_.exe();
  } else if (s.literal("qXfer:siginfo:read::")) {
    info = target_.siginfo(general_thread());
    if (info.empty()) return error();
    document = info;
  } else {
    return unknown();
  }
  auto part = xfer_part(document, s.rest());
  return part ? text(*std::move(part)) : error();
}

Reply Session::set_mode(std::string_view packet) {
  if (packet == "QStartNoAckMode") {
    no_ack_ = true;
    return ok();
  }
  Scanner s(packet);
  if (!s.literal("QPassSignals:")) return unknown();
  std::uint64_t mask = 0;
  while (!s.empty()) {
    std::uint64_t value = 0;
    if (!s.number(value)) return error();
    const int signo = value <= 0xff ? from_gdb_signal(static_cast<unsigned>(value)) : 0;
    if (signo > 0) mask |= std::uint64_t{1} << (signo - 1);
    if (!s.literal(";") && !s.empty()) return error();
  }
  target_.pass_signals(mask);
  return ok();
}

Reply Session::letter_v(std::string_view packet) {
  if (packet == "vCont?") return text("vCont;c;C;s;S;t");
  if (starts(packet, "vCont;")) return vcont(packet.substr(5));
  if (starts(packet, "vFile:")) return file(packet.substr(6));
  if (starts(packet, "vKill;")) return {"OK", true, Then::Kill};
  return unknown();
}

Reply Session::file(std::string_view packet) {
  Scanner s(packet);
  std::uint64_t a = 0;
  std::uint64_t b = 0;
  std::uint64_t c = 0;
  // One file system: the program's.
  if (s.literal("setfs:")) return s.number(a) && s.empty() ? text("F0") : error();
  if (s.literal("open:")) {
    const auto path = from_hex(s.until(","));
    if (!path || !s.literal(",") || !s.number(a) || !s.literal(",") || !s.number(b) || !s.empty())
      return error();
    return text(file_reply(target_.files().open(*path, a), {}));
  }
  if (s.literal("readlink:")) {
    const auto path = from_hex(s.rest());
    if (!path) return error();
    std::string data;
    const std::int64_t rc = target_.files().readlink(*path, data);
    return text(file_reply(rc, data));
  }
  if (s.literal("close:"))
    return s.number(a) && s.empty() ? text(file_reply(target_.files().close(a), {})) : error();
  if (s.literal("fstat:")) {
    if (!s.number(a) || !s.empty()) return error();
    std::string data;
    const std::int64_t rc = target_.files().fstat(a, data);
    return text(file_reply(rc, data));
  }
  if (!s.literal("pread:")) return unknown();
  if (!s.number(a) || !s.literal(",") || !s.number(b) || !s.literal(",") || !s.number(c) || !s.empty())
    return error();
  std::string data;
  const std::int64_t rc = target_.files().pread(a, std::min<std::uint64_t>(b, kMostMemory), c, data);
  return text(file_reply(rc, data));
}

// c [addr], s [addr], C sig[;addr], S sig[;addr]: an address is refused, gdb has not sent one for decades.
Reply Session::resume_one(std::string_view packet) {
  Action a;
  a.step = packet.front() == 's' || packet.front() == 'S';
  Scanner s(packet.substr(1));
  if (packet.front() == 'C' || packet.front() == 'S') {
    std::uint64_t value = 0;
    if (!s.number(value) || value > 0xff) return error();
    a.signo = from_gdb_signal(static_cast<unsigned>(value));
  }
  if (!s.empty()) return error();
  actions_.clear();
  Action mine = a;
  mine.thread = continue_ > 0 ? continue_ : general_thread();
  actions_.push_back(mine);
  if (continue_ <= 0) actions_.push_back(Action{});
  return resume();
}

Reply Session::vcont(std::string_view packet) {
  Scanner s(packet);
  std::vector<Action> actions;
  while (s.literal(";")) {
    Scanner part(s.until(";"));
    Action a;
    std::uint64_t value = 0;
    const bool with_signal = part.rest().substr(0, 1) == "C" || part.rest().substr(0, 1) == "S";
    a.step = part.rest().substr(0, 1) == "s" || part.rest().substr(0, 1) == "S";
    if (part.literal("t")) {
      a.stop = true;
    } else if (!part.literal("c") && !part.literal("s") && !part.literal("C") && !part.literal("S")) {
      return error();
    }
    if (with_signal) {
      if (!part.number(value) || value > 0xff) return error();
      a.signo = from_gdb_signal(static_cast<unsigned>(value));
    }
    if (part.literal(":")) {
      if (!part.thread(a.thread)) return error();
      if (a.thread == 0) a.thread = general_thread();
    }
    if (!part.empty()) return error();
    actions.push_back(a);
  }
  if (!s.empty() || actions.empty()) return error();
  // Nobody would run, and no stop could ever be reported.
  const auto threads = target_.threads();
  const bool any = std::any_of(actions.begin(), actions.end(), [&](const Action& a) {
    return !a.stop && (a.thread < 0 || std::find(threads.begin(), threads.end(), a.thread) != threads.end());
  });
  if (!any) return error();
  actions_ = std::move(actions);
  return resume();
}

Reply Session::select_thread(std::string_view packet) {
  Scanner s(packet);
  const bool general = s.literal("g");
  if (!general && !s.literal("c")) return error();
  std::int64_t tid = 0;
  if (!s.thread(tid) || !s.empty()) return error();
  if (tid > 0) {
    const auto threads = target_.threads();
    if (std::find(threads.begin(), threads.end(), tid) == threads.end()) return error();
  }
  (general ? general_ : continue_) = tid;
  return ok();
}

Reply Session::alive(std::string_view packet) {
  Scanner s(packet);
  std::int64_t tid = 0;
  if (!s.thread(tid) || !s.empty()) return error();
  const auto threads = target_.threads();
  return std::find(threads.begin(), threads.end(), tid) != threads.end() ? ok() : error();
}

Reply Session::read_registers() {
  RegisterFile f;
  if (!target_.get(general_thread(), f)) return error();
  std::string bytes;
  for (unsigned i = 0; i < register_count(target_.abi()); ++i) read_register(f, target_.abi(), i, bytes);
  return text(to_hex(bytes));
}

Reply Session::write_registers(std::string_view hex) {
  const auto bytes = from_hex(hex);
  const Abi abi = target_.abi();
  if (!bytes || bytes->size() != file_bytes(abi)) return error();
  RegisterFile f;
  if (!target_.get(general_thread(), f)) return error();
  std::size_t at = 0;
  for (unsigned i = 0; i < register_count(abi); ++i) {
    const unsigned n = register_bytes(abi, i);
    if (!write_register(f, abi, i, std::string_view(*bytes).substr(at, n))) return error();
    at += n;
  }
  return target_.set(general_thread(), f) ? ok() : error();
}

Reply Session::read_one(std::string_view packet) {
  Scanner s(packet);
  std::uint64_t index = 0;
  RegisterFile f;
  std::string bytes;
  if (!s.number(index) || !s.empty() || index > 0xffff || !target_.get(general_thread(), f)) return error();
  if (!read_register(f, target_.abi(), static_cast<unsigned>(index), bytes)) return error();
  return text(to_hex(bytes));
}

Reply Session::write_one(std::string_view packet) {
  Scanner s(packet);
  std::uint64_t index = 0;
  RegisterFile f;
  if (!s.number(index) || !s.literal("=") || index > 0xffff) return error();
  const auto bytes = from_hex(s.rest());
  if (!bytes || !target_.get(general_thread(), f)) return error();
  if (!write_register(f, target_.abi(), static_cast<unsigned>(index), *bytes)) return error();
  return target_.set(general_thread(), f) ? ok() : error();
}

Reply Session::read_memory(std::string_view packet) {
  Scanner s(packet);
  std::uint64_t at = 0;
  std::uint64_t bytes = 0;
  if (!s.number(at) || !s.literal(",") || !s.number(bytes) || !s.empty()) return error();
  if (bytes == 0) return text("");
  std::string buffer(std::min<std::uint64_t>(bytes, kMostMemory), '\0');
  const std::size_t n = target_.read(at, buffer.data(), buffer.size());
  if (n == 0 || n > buffer.size()) return error();
  return text(to_hex(std::string_view(buffer).substr(0, n)));
}

Reply Session::write_memory(std::string_view packet, bool binary) {
  Scanner s(packet);
  std::uint64_t at = 0;
  std::uint64_t bytes = 0;
  if (!s.number(at) || !s.literal(",") || !s.number(bytes) || !s.literal(":")) return error();
  std::string data(s.rest());
  if (!binary) {
    auto decoded = from_hex(data);
    if (!decoded) return error();
    data = *std::move(decoded);
  }
  if (data.size() != bytes) return error();
  return data.empty() || target_.write(at, data.data(), data.size()) ? ok() : error();
}

Reply Session::breakpoint(std::string_view packet, bool insert) {
  Scanner s(packet);
  std::uint64_t type = 0;
  std::uint64_t at = 0;
  std::uint64_t kind = 0;
  if (!s.number(type) || !s.literal(",") || !s.number(at) || !s.literal(",") || !s.number(kind))
    return error();
  if (type != 0) return unknown();  // gdb then uses software breakpoints, and steps for watchpoints
  return (insert ? target_.insert_breakpoint(at) : target_.remove_breakpoint(at)) ? ok() : error();
}

}  // namespace hpcvmm::gdb
