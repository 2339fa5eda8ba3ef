#include "guest-agent/view/cpu_text.hh"

#include <array>
#include <charconv>
#include <cstdio>

namespace hpcvmm::view {

std::string cpu_list(const CpuSet& set) {
  std::string out;
  for (unsigned cpu = 0; cpu < wire::view::kMostCpus; ++cpu) {
    if (!set.has(cpu)) continue;
    unsigned last = cpu;
    while (set.has(last + 1)) ++last;
    if (!out.empty()) out += ',';
    out += std::to_string(cpu);
    if (last != cpu) (out += '-') += std::to_string(last);
    cpu = last;
  }
  return out;
}

bool parse_cpu_list(std::string_view text, CpuSet& set) {
  set = {};
  const auto number = [&text](unsigned& value) {
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value, 10);
    if (error != std::errc{} || value >= wire::view::kMostCpus) return false;
    text.remove_prefix(static_cast<std::size_t>(stop - text.data()));
    return true;
  };
  while (!text.empty() && text != "\n") {
    unsigned first = 0;
    if (!number(first)) return false;
    unsigned last = first;
    if (text.starts_with('-')) {
      text.remove_prefix(1);
      if (!number(last) || last < first) return false;
    }
    set.add(first, last - first + 1);
    if (text.starts_with(',')) {
      text.remove_prefix(1);
      if (text.empty()) return false;
    } else if (!text.empty() && text != "\n") {
      return false;
    }
  }
  return true;
}

std::string cpu_mask(const CpuSet& set, unsigned bits) {
  if (bits == 0) bits = 1;
  std::string out;
  for (unsigned group = (bits + 31) / 32; group-- > 0;) {
    const auto value = static_cast<std::uint32_t>(set.words[group / 2] >> (group % 2 * 32));
    // The highest group has as many digits as it has bits.
    const unsigned width = out.empty() && bits % 32 != 0 ? (bits % 32 + 3) / 4 : 8;
    std::array<char, 16> text{};
    std::snprintf(text.data(), text.size(), "%0*x", static_cast<int>(width), value);
    if (!out.empty()) out += ',';
    out += text.data();
  }
  return out;
}

}  // namespace hpcvmm::view
