#include "guest-agent/view/proc_files.hh"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace hpcvmm::view {
namespace {

std::string_view take_line(std::string_view& text) {
  const std::size_t end = text.find('\n');
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return line;
}

std::string_view take_word(std::string_view& line) {
  const std::size_t begin = std::min(line.find_first_not_of(' '), line.size());
  line.remove_prefix(begin);
  const std::string_view word = line.substr(0, line.find(' '));
  line.remove_prefix(word.size());
  return word;
}

std::uint64_t number(std::string_view text) {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::vector<std::uint64_t> numbers(std::string_view line) {
  std::vector<std::uint64_t> out;
  for (std::string_view word = take_word(line); !word.empty(); word = take_word(line))
    out.push_back(number(word));
  return out;
}

void add(std::vector<std::uint64_t>& sum, const std::vector<std::uint64_t>& more) {
  if (sum.size() < more.size()) sum.resize(more.size());
  for (std::size_t i = 0; i < more.size(); ++i) sum[i] += more[i];
}

void print(std::string& out, std::string_view head, const std::vector<std::uint64_t>& values) {
  out += head;
  for (const std::uint64_t v : values) (out += ' ') += std::to_string(v);
  out += '\n';
}

bool is_cpu_line(std::string_view key) { return key.size() > 3 && key.starts_with("cpu"); }

/// The lines of a node's CPUs that it offers.
std::vector<std::vector<std::uint64_t>> cpu_lines(std::string_view stat, unsigned cpus) {
  std::vector<std::vector<std::uint64_t>> out;
  while (!stat.empty() && out.size() < cpus) {
    std::string_view line = take_line(stat);
    if (is_cpu_line(take_word(line))) out.push_back(numbers(line));
  }
  // A node that offers more than it shows: an idle one of the same shape.
  while (out.size() < cpus) out.emplace_back(out.empty() ? 10 : out.front().size());
  return out;
}

/// The sum over the nodes of the line that begins with `key`.
std::vector<std::uint64_t> sum_of(std::span<const NodeFiles> nodes, std::string_view key) {
  std::vector<std::uint64_t> sum;
  for (const NodeFiles& n : nodes) {
    if (n.node.online == 0) continue;
    for (std::string_view rest = n.stat; !rest.empty();) {
      std::string_view line = take_line(rest);
      if (take_word(line) == key) add(sum, numbers(line));
    }
  }
  return sum;
}

struct Amount {
  std::string_view key;
  std::uint64_t value = 0;
  bool kib = false;
};

bool parse_amount(std::string_view line, Amount& a) {
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return false;
  a.key = line.substr(0, colon);
  line.remove_prefix(colon + 1);
  a.value = number(take_word(line));
  a.kib = take_word(line) == "kB";
  return true;
}

void print_amount(std::string& out, const Amount& a) {
  // "MemTotal:       24684092 kB": number and key share 24 columns.  Source: show_val_kb().
  std::string head(a.key);
  head += ':';
  if (head.size() < 16) head.append(16 - head.size(), ' ');
  std::string value = std::to_string(a.value);
  if (value.size() < 8) value.insert(0, 8 - value.size(), ' ');
  (out += head) += value;
  out += a.kib ? " kB\n" : "\n";
}

/// Not sums: properties of the machine.
bool is_property(std::string_view key) { return key == "Hugepagesize" || key == "VmallocTotal"; }

}  // namespace

std::string cpuinfo(std::span<const NodeFiles> nodes) {
  std::string out;
  for (const NodeFiles& n : nodes) {
    if (n.node.online == 0) continue;
    for (unsigned i = 0; i < n.node.cpus; ++i) {
      const unsigned cpu = n.node.first_cpu + i;
      for (std::string_view rest = n.cpuinfo; !rest.empty();) {
        const std::string_view line = take_line(rest);
        const std::string_view key = line.substr(0, line.find_first_of("\t:"));
        std::uint64_t value = 0;
        if (key == "processor" || key == "apicid" || key == "initial apicid") {
          value = cpu;
        } else if (key == "physical id") {
          value = n.node.id;
        } else if (key == "siblings" || key == "cpu cores") {
          value = n.node.cpus;
        } else if (key == "core id") {
          value = i;
        } else {
          (out += line) += '\n';
          continue;
        }
        ((out += line.substr(0, line.find(':') + 1)) += ' ') += std::to_string(value);
        out += '\n';
      }
      out += '\n';
    }
  }
  return out;
}

std::string stat(std::span<const NodeFiles> nodes, std::size_t own) {
  std::string lines;
  std::vector<std::uint64_t> all;
  for (const NodeFiles& n : nodes) {
    if (n.node.online == 0) continue;
    const auto cpus = cpu_lines(n.stat, n.node.cpus);
    for (unsigned i = 0; i < n.node.cpus; ++i) {
      add(all, cpus[i]);
      print(lines, "cpu" + std::to_string(n.node.first_cpu + i), cpus[i]);
    }
  }
  std::string out;
  print(out, "cpu ", all);
  out += lines;
  for (std::string_view rest = nodes[own].stat; !rest.empty();) {
    const std::string_view line = take_line(rest);
    std::string_view values = line;
    const std::string_view key = take_word(values);
    if (key == "cpu" || is_cpu_line(key)) continue;
    if (key == "btime")
      (out += line) += '\n';
    else
      print(out, key, sum_of(nodes, key));
  }
  return out;
}

std::string meminfo(std::span<const NodeFiles> nodes, std::size_t own) {
  std::string out;
  for (std::string_view rest = nodes[own].meminfo; !rest.empty();) {
    Amount a;
    if (!parse_amount(take_line(rest), a)) continue;
    if (!is_property(a.key)) {
      a.value = 0;
      for (const NodeFiles& n : nodes)
        if (n.node.online != 0) a.value += meminfo_kib(n.meminfo, a.key);
    }
    print_amount(out, a);
  }
  return out;
}

std::string loadavg(std::span<const NodeFiles> nodes, std::size_t own) {
  Loads sum;
  for (const NodeFiles& n : nodes) {
    if (n.node.online == 0) continue;
    const Loads one = parse_loadavg(n.loadavg);
    for (std::size_t i = 0; i < 3; ++i) sum.averages[i] += one.averages[i];
    sum.running += one.running;
    sum.processes += one.processes;
  }
  std::string_view rest = nodes[own].loadavg;
  std::string_view last;
  for (int i = 0; i < 5; ++i) last = take_word(rest);
  const auto as_number = [&sum](std::size_t i) { return static_cast<double>(sum.averages[i]) / 65536; };
  std::array<char, 160> line{};
  std::snprintf(line.data(), line.size(), "%.2f %.2f %.2f %llu/%llu ", as_number(0), as_number(1),
                as_number(2), static_cast<unsigned long long>(sum.running),
                static_cast<unsigned long long>(sum.processes));
  return std::string(line.data()) + std::to_string(number(last)) + "\n";
}

std::uint64_t meminfo_kib(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    Amount a;
    if (parse_amount(take_line(text), a) && a.key == key) return a.value;
  }
  return 0;
}

Loads parse_loadavg(std::string_view text) {
  Loads loads;
  for (std::uint64_t& one : loads.averages) {
    const std::string word(take_word(text));
    const double value = std::strtod(word.c_str(), nullptr);
    one = value > 0 && value < 1e9 ? static_cast<std::uint64_t>(std::lround(value * 65536)) : 0;
  }
  const std::string_view counts = take_word(text);
  loads.running = number(counts);
  if (const std::size_t slash = counts.find('/'); slash != std::string_view::npos)
    loads.processes = number(counts.substr(slash + 1));
  return loads;
}

std::uint64_t idle_cs(std::string_view stat, unsigned cpus) {
  std::uint64_t sum = 0;
  for (const auto& line : cpu_lines(stat, cpus))
    if (line.size() > 4) sum += line[3] + line[4];
  return sum;
}

std::string_view first_cpu_block(std::string_view cpuinfo) {
  const std::size_t end = cpuinfo.find("\n\n");
  return end == std::string_view::npos ? cpuinfo : cpuinfo.substr(0, end + 1);
}

std::string short_stat(std::string_view stat) {
  std::string out;
  while (!stat.empty()) {
    std::string_view line = take_line(stat);
    std::string_view values = line;
    if (take_word(values) == "intr") {
      take_word(values);
      line.remove_suffix(values.size());
    }
    (out += line) += '\n';
  }
  return out;
}

std::string limited_meminfo(std::string_view meminfo, std::uint64_t total, std::uint64_t free) {
  std::string out;
  while (!meminfo.empty()) {
    Amount a;
    if (!parse_amount(take_line(meminfo), a)) continue;
    if (a.key == "MemTotal") a.value = std::min(a.value, total / 1024);
    if (a.key == "MemFree" || a.key == "MemAvailable") a.value = std::min(a.value, free / 1024);
    if (a.key == "Buffers" || a.key == "Cached" || a.key == "SReclaimable" || a.key == "KReclaimable")
      a.value = std::min(a.value, (total - std::min(free, total)) / 4096);
    print_amount(out, a);
  }
  return out;
}

}  // namespace hpcvmm::view
