#include "vmm/deputy/proc_text.hh"

#include <array>
#include <charconv>
#include <cstdlib>

namespace hpcvmm::deputy::proc_text {
namespace {

constexpr std::size_t kNameColumn = 73;  // where the kernel aligns names to

/// Takes the next component of a path; empty at its end.
std::string_view next_component(std::string_view& path) {
  for (;;) {
    while (!path.empty() && path[0] == '/') path.remove_prefix(1);
    const std::size_t end = path.find('/');
    const std::string_view one = path.substr(0, end);
    path.remove_prefix(one.size());
    if (one != ".") return one;
  }
}

template <class T> bool parse_number(std::string_view text, T& value) {
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value, 10);
  return error == std::errc{} && stop == text.data() + text.size() && value >= 0;
}

std::string_view take_line(std::string_view& text) {
  const std::size_t end = text.find('\n');
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return line;
}

/// The header line of a mapping, cut before its name.
struct Header {
  Range range;
  std::string_view fields;  // "begin-end perms offset dev inode"
  std::string_view name;
};

bool parse_header(std::string_view line, Header& h) {
  if (!parse_range(line, h.range)) return false;
  std::size_t at = 0;
  for (int field = 0; field < 5; ++field) {
    at = line.find_first_not_of(' ', at);
    if (at == std::string_view::npos) return false;
    at = line.find(' ', at);
    if (at == std::string_view::npos) at = line.size();
  }
  h.fields = line.substr(0, at);
  const std::size_t name = line.find_first_not_of(' ', at);
  h.name = name == std::string_view::npos ? std::string_view() : line.substr(name);
  return true;
}

bool is_hidden(const Header& h, const View& view) {
  if (h.name == "[vsyscall]") return view.ia32;
  if (h.name == "[vdso]" || h.name.starts_with("[vvar")) return true;  // the host's
  return view.is_vmm(h.range.begin, h.range.end);
}

std::string_view guest_name(const Header& h, const View& view) {
  if (view.vdso != 0 && h.range.begin <= view.vdso && view.vdso < h.range.end) return "[vdso]";
  if (view.vdso != 0 && h.range.end == view.vdso) return "[vvar]";
  const bool in_brk = h.range.begin < view.brk_end && h.range.end > view.brk_begin;
  if (in_brk && h.name.empty()) return "[heap]";
  if (h.name == "[heap]" && !in_brk) return {};
  return h.name;
}

void print_header(std::string& out, const Header& h, std::string_view name) {
  const std::size_t start = out.size();
  out += h.fields;
  out += ' ';
  if (!name.empty()) {
    if (out.size() < start + kNameColumn) out.append(start + kNameColumn - out.size(), ' ');
    out += name;
  }
  out += '\n';
}

/// "Key:   123 kB".
bool parse_amount(std::string_view line, std::string_view& key, std::uint64_t& kib) {
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return false;
  key = line.substr(0, colon);
  const std::size_t digits = line.find_first_not_of(' ', colon + 1);
  if (digits == std::string_view::npos || !line.ends_with(" kB")) return false;
  const char* const end = line.data() + line.size();
  return std::from_chars(line.data() + digits, end, kib, 10).ec == std::errc{};
}

/// Sums of what the hidden mappings have, key by key.
struct Sums {
  static constexpr std::size_t kMost = 40;
  std::array<std::string_view, kMost> keys{};
  std::array<std::uint64_t, kMost> kib{};
  std::size_t count = 0;

  void add(std::string_view key, std::uint64_t amount) {
    for (std::size_t i = 0; i < count; ++i) {
      if (keys[i] != key) continue;
      kib[i] += amount;
      return;
    }
    if (count == kMost) return;
    keys[count] = key;
    kib[count++] = amount;
  }
  [[nodiscard]] std::uint64_t of(std::string_view key) const {
    for (std::size_t i = 0; i < count; ++i)
      if (keys[i] == key) return kib[i];
    return 0;
  }
};

Sums hidden_sums(std::string_view smaps, const View& view) {
  Sums sums;
  Header h;
  bool hidden = false;
  while (!smaps.empty()) {
    const std::string_view line = take_line(smaps);
    if (parse_header(line, h)) {
      hidden = is_hidden(h, view);
      continue;
    }
    std::string_view key;
    std::uint64_t kib = 0;
    if (!hidden || !parse_amount(line, key, kib)) continue;
    sums.add(key, kib);
    // The roll-up splits Pss by what backs it; a mapping of the VMM is of a file or it is anonymous.
    if (key == "Pss") sums.add(h.name.starts_with("/") ? "Pss_File" : "Pss_Anon", kib);
  }
  return sums;
}

}  // namespace

bool is_candidate(std::string_view path) {
  const std::string_view first = next_component(path);
  return first == "proc" || first == "dev";
}

Name parse_name(std::string_view path) {
  Name n;
  if (path.empty() || path[0] != '/') return n;
  const std::string_view top = next_component(path);
  if (top == "dev") {
    if (next_component(path) == "fd" && parse_number(next_component(path), n.fd)) n.what = What::Fd;
    return n;
  }
  if (top != "proc") return n;
  const std::string_view who = next_component(path);
  if (who != "self" && who != "thread-self" && (!parse_number(who, n.pid) || n.pid == 0)) return n;
  std::string_view what = next_component(path);
  if (what == "task") {
    std::int64_t tid = 0;
    if (!parse_number(next_component(path), tid)) return n;
    what = next_component(path);
  }
  if (what == "exe") {
    if (next_component(path).empty()) n.what = What::Exe;
  } else if (what == "fd" || what == "fdinfo") {
    if (parse_number(next_component(path), n.fd)) n.what = What::Fd;
  }
  return n;
}

bool is_telling_file(std::string_view file) {
  return file == "maps" || file == "smaps" || file == "smaps_rollup" || file == "numa_maps" ||
         file == "status";
}

bool parse_range(std::string_view text, Range& range) {
  // from_chars would take upper case too, and "Anonymous:" begins with a hex digit.
  const char* const end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, range.begin, 16);
  if (first.ec != std::errc{} || first.ptr == end || *first.ptr != '-') return false;
  const auto second = std::from_chars(first.ptr + 1, end, range.end, 16);
  return second.ec == std::errc{} && range.begin <= range.end;
}

std::string filter_maps(std::string_view host, const View& view) {
  std::string out;
  out.reserve(host.size());
  bool hidden = false;
  while (!host.empty()) {
    const std::string_view line = take_line(host);
    Header h;
    if (parse_header(line, h)) {
      hidden = is_hidden(h, view);
      if (!hidden) print_header(out, h, guest_name(h, view));
    } else if (!hidden) {
      out += line;
      out += '\n';
    }
  }
  return out;
}

std::string filter_numa_maps(std::string_view host, const View& view) {
  std::string out;
  out.reserve(host.size());
  while (!host.empty()) {
    const std::string_view line = take_line(host);
    std::uint64_t at = 0;
    const bool address = std::from_chars(line.data(), line.data() + line.size(), at, 16).ec == std::errc{};
    if (address && view.is_vmm(at, at + 1)) continue;
    out += line;
    out += '\n';
  }
  return out;
}

std::string filter_rollup(std::string_view host, std::string_view smaps, const View& view) {
  const Sums sums = hidden_sums(smaps, view);
  std::string out;
  while (!host.empty()) {
    const std::string_view line = take_line(host);
    std::string_view key;
    std::uint64_t kib = 0;
    if (!parse_amount(line, key, kib)) {
      out += line;
      out += '\n';
      continue;
    }
    // "Key:" is padded so that the number, eight wide, ends at column 24.
    const std::uint64_t less = sums.of(key);
    std::string number = std::to_string(kib > less ? kib - less : 0);
    if (number.size() < 8) number.insert(0, 8 - number.size(), ' ');
    std::string head(key);
    head += ':';
    if (head.size() < 16) head.append(16 - head.size(), ' ');
    out += head + number + " kB\n";
  }
  return out;
}

std::string filter_stat(std::string_view host, const MoreTicks& more,
                        const std::function<unsigned(unsigned)>& cpu_in_view) {
  // The name in brackets may hold blanks and brackets; behind the last one comes field 3.
  constexpr unsigned kUserTime = 14;
  const std::array<std::uint64_t, 4> times{more.user, more.system, more.children_user, more.children_system};
  constexpr unsigned kProcessor = 39;
  const std::size_t bracket = host.rfind(')');
  if (bracket == std::string_view::npos) return std::string(host);
  std::string out(host.substr(0, bracket + 1));
  std::string_view rest = host.substr(bracket + 1);
  for (unsigned field = 3; !rest.empty() && rest[0] == ' '; ++field) {
    rest.remove_prefix(1);
    const std::string_view word = rest.substr(0, rest.find_first_of(" \n"));
    rest.remove_prefix(word.size());
    std::uint64_t value = 0;
    out += ' ';
    const bool is_time = field >= kUserTime && field < kUserTime + times.size();
    if ((!is_time && field != kProcessor) || !parse_number(word, value))
      out += word;
    else
      out += std::to_string(is_time ? value + times[field - kUserTime]
                                    : cpu_in_view(static_cast<unsigned>(value)));
  }
  return out += rest;
}

std::string filter_status(std::string_view host, const Status& status) {
  const auto as_mask = [](std::uint64_t bits) {
    std::array<char, 17> text{};
    for (std::size_t i = 0; i < 16; ++i) text[i] = "0123456789abcdef"[bits >> (60 - 4 * i) & 15U];
    return std::string(text.data(), 16);
  };
  std::string out;
  out.reserve(host.size() + 32);
  while (!host.empty()) {
    const std::string_view line = take_line(host);
    const std::string_view key = line.substr(0, line.find(':'));
    std::string value;
    if (key == "Threads") value = std::to_string(status.threads);
    if (key == "SigIgn") value = as_mask(status.ignored);
    if (key == "SigCgt") value = as_mask(status.caught);
    if (key == "Seccomp") value = std::to_string(status.seccomp_mode);
    if (key == "Seccomp_filters") value = std::to_string(status.seccomp_filters);
    if (key == "Cpus_allowed") value = status.cpus;
    if (key == "Cpus_allowed_list") value = status.cpu_list;
    if (key == "Mems_allowed") value = status.nodes;
    if (key == "Mems_allowed_list") value = status.node_list;
    if (value.empty()) {
      out += line;
    } else {
      ((out += key) += ":\t") += value;
    }
    out += '\n';
  }
  return out;
}

}  // namespace hpcvmm::deputy::proc_text
