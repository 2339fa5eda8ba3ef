#include "cli/top/mon_screen.hh"

#include <algorithm>
#include <cmath>

#include "cli/cluster/ask.hh"
#include "cli/top/top_screen.hh"

namespace hpcvmm::cli {

namespace {

constexpr int kAxis = 8;  // columns of the scale at the left

std::vector<const NodeRow*> shown_nodes(const MonView& view, const Snapshot& s) {
  std::vector<const NodeRow*> out;
  for (const NodeRow& n : s.nodes)
    if ((n.up() || view.dead) && n.id >= view.first) out.push_back(&n);
  return out;
}

int digits(const std::vector<const NodeRow*>& nodes) {
  int most = 1;
  for (const NodeRow* n : nodes) most = std::max(most, static_cast<int>(std::to_string(n->id).size()));
  return most;
}

MonNumbers chosen(const MonView& view, const std::vector<const NodeRow*>& nodes, int room) {
  if (view.numbers != MonNumbers::Auto) return view.numbers;
  const int count = static_cast<int>(nodes.size());
  if (count * (digits(nodes) + 2) <= room) return MonNumbers::Wide;
  return count * 2 <= room ? MonNumbers::Vertical : MonNumbers::Dense;
}

const char* title(MonWhat what) {
  switch (what) {
    case MonWhat::Load: return "LOAD";
    case MonWhat::LogLoad: return "LOG LOAD";
    case MonWhat::Speed: return "SPEED";
    case MonWhat::Memory: return "MEMORY";
    case MonWhat::RawMemory: return "RAW MEM";
    case MonWhat::Util: return "UTIL %";
  }
  return "";
}

std::string label(MonWhat what, double value) {
  if (what == MonWhat::Memory || what == MonWhat::RawMemory)
    return human_bytes(static_cast<std::uint64_t>(value));
  return fixed(value, what == MonWhat::Util || what == MonWhat::Speed ? 0 : 2);
}

/// A round number at least as large, so that the scale does not jump with every node.
double scale_of(const MonView& view, const std::vector<const NodeRow*>& nodes) {
  double most = view.what == MonWhat::Util ? 100 : 0;
  for (const NodeRow* n : nodes) {
    const MonValue v = mon_value(*n, view.what);
    most = std::max({most, v.value, v.most});
  }
  if (view.what == MonWhat::Load || view.what == MonWhat::LogLoad) most = std::max(most, 1.0);
  if (view.what == MonWhat::Util || most <= 0) return most > 0 ? most : 1;
  const double power = std::pow(10, std::floor(std::log10(most)));
  for (const double step : {1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0})
    if (most <= step * power) return step * power;
  return most;
}

double height_of(const MonView& view, double value, double scale) {
  if (view.what != MonWhat::LogLoad) return value / scale;
  return std::log1p(std::max(0.0, value)) / std::log1p(scale);
}

void draw_bar(const MonView& view, const NodeRow& n, double scale, int column, int width, int bottom,
              int rows, Canvas& c) {
  if (!n.up()) {
    static const std::string kDead = "DEAD";
    for (int i = 0; i < 4 && i < rows; ++i)
      c.put(bottom - (3 - i), column, std::string(1, kDead[static_cast<std::size_t>(i)]), Style::Full);
    return;
  }
  const MonValue v = mon_value(n, view.what);
  const int high = static_cast<int>(std::lround(std::min(1.0, height_of(view, v.value, scale)) * rows));
  const int most = static_cast<int>(std::lround(std::min(1.0, height_of(view, v.most, scale)) * rows));
  const double share = v.most > 0 ? v.value / v.most : view.what == MonWhat::Load ? v.value : 0;
  const Style style = share > 1.0 ? Style::Full : share > 0.75 ? Style::Busy : Style::Good;
  const auto w = static_cast<std::size_t>(width);
  for (int i = 0; i < rows; ++i) {
    if (i < high)
      c.put(bottom - i, column, std::string(w, '#'), style);
    else if (i < most)
      c.put(bottom - i, column, std::string(w, '.'), Style::Dim);
  }
}

std::string total_line(const Snapshot& s) {
  double load = 0;
  double cpus = 0;
  double speed = 0;
  std::uint64_t used = 0;
  std::uint64_t total = 0;
  int up = 0;
  for (const NodeRow& n : s.nodes) {
    if (!n.up()) continue;
    ++up;
    load += n.load;
    cpus += n.cpus;
    speed += n.speed * n.cpus;
    used += n.memory_used();
    total += n.memory_total;
  }
  return "Total: " + std::to_string(up) + " nodes up, " + fixed(cpus, 0) + " CPUs, speed " + fixed(speed, 2) +
         ", load " + fixed(load, 2) + ", memory " + human_bytes(used) + " of " + human_bytes(total);
}

void draw_numbers(MonNumbers numbers, const NodeRow& n, int column, int row, int deep, Canvas& c) {
  const std::string id = std::to_string(n.id);
  if (numbers == MonNumbers::Wide) {
    c.put(row, column, id);
    return;
  }
  const int blanks = deep - static_cast<int>(id.size());
  for (std::size_t i = 0; i < id.size(); ++i)
    c.put(row + blanks + static_cast<int>(i), column, std::string(1, id[i]));
}

void draw_help(Canvas& c) {
  static const std::vector<std::string> kLines{
      "l load   L log load   s speed   m memory   r raw memory   u utilizability",
      "w numbers side by side   v upright   V upright, dense   a as they fit",
      "t total on or off   d nodes that are down as well   D without them",
      "Left Right   the node at the left edge   n p   a screen of nodes on or back", "h this help   q quit"};
  for (std::size_t i = 0; i < kLines.size(); ++i) {
    const int row = 2 + static_cast<int>(i);
    c.put(row, 0, std::string(static_cast<std::size_t>(c.width()), ' '));
    c.put(row, 2, kLines[i], Style::Bold);
  }
}

}  // namespace

MonValue mon_value(const NodeRow& n, MonWhat what) {
  switch (what) {
    case MonWhat::Load:
    case MonWhat::LogLoad: return {n.relative_load(), 0};
    case MonWhat::Speed: return {n.speed * 10000, 0};
    // openMosix's memory leaves out what the node could free at once; ours knows that number only.
    case MonWhat::Memory: return {static_cast<double>(n.memory_used()), static_cast<double>(n.memory_total)};
    case MonWhat::RawMemory: return {static_cast<double>(n.memory_used()), 0};
    case MonWhat::Util: return {100 * (1 - std::clamp(n.paging, 0.0, 1.0)), 100};
  }
  return {};
}

void draw_mon(const MonView& view, const Snapshot& s, Canvas& c) {
  if (!s.error.empty()) {
    c.put(0, 0, "hpc-vmm mon  " + s.clock, Style::Bold);
    c.put(2, 0, s.error, Style::Full);
    return;
  }
  const std::vector<const NodeRow*> nodes = shown_nodes(view, s);
  const int room = c.width() - kAxis - 1;
  const MonNumbers numbers = chosen(view, nodes, room);
  const int deep = numbers == MonNumbers::Wide ? 1 : digits(nodes);
  const int step = numbers == MonNumbers::Wide ? digits(nodes) + 2 : numbers == MonNumbers::Vertical ? 2 : 1;
  const int width = numbers == MonNumbers::Wide ? digits(nodes) + 1 : 1;
  const int top = view.total ? 2 : 1;
  const int bottom = c.height() - deep - 3;  // row of the lowest block
  const int rows = std::max(1, bottom - top + 1);
  const double scale = scale_of(view, nodes);
  c.put(0, 0, title(view.what), Style::Bold);
  c.put(0, std::max(0, c.width() - static_cast<int>(s.clock.size())), s.clock);
  if (view.total) c.put(1, kAxis, total_line(s));
  for (int i = 0; i < rows; ++i) {
    const bool marked = i == rows - 1 || i == rows / 2 || i == 0;
    double value = scale * (i + 1) / rows;
    if (view.what == MonWhat::LogLoad) value = std::expm1(std::log1p(scale) * (i + 1) / rows);
    c.put(bottom - i, 0, right(marked ? label(view.what, i == 0 ? 0 : value) : "", kAxis - 2) + " |");
  }
  c.put(bottom + 1, kAxis - 1, "+" + std::string(static_cast<std::size_t>(std::max(0, room)), '-'));
  int column = kAxis + 1;
  for (const NodeRow* n : nodes) {
    if (column + width > c.width()) break;
    draw_bar(view, *n, scale, column, width, bottom, rows, c);
    draw_numbers(numbers, *n, column, bottom + 2, deep, c);
    column += step;
  }
  c.put(c.height() - 1, 0, view.message.empty() ? "Node #   (h help, q quit)" : view.message, Style::Dim);
  if (view.help) draw_help(c);
}

bool mon_key(MonView& view, const Snapshot& s, int key) {
  if (view.help) {
    view.help = false;
    return true;
  }
  const auto neighbour = [&](int by) {
    const auto at =
        std::find_if(s.nodes.begin(), s.nodes.end(), [&](const NodeRow& n) { return n.id >= view.first; });
    const int index = static_cast<int>(at - s.nodes.begin()) + by;
    if (s.nodes.empty()) return;
    view.first =
        s.nodes[static_cast<std::size_t>(std::clamp(index, 0, static_cast<int>(s.nodes.size()) - 1))].id;
  };
  switch (key) {
    case 'q':
    case 'Q': return false;
    case 'd': view.dead = true; break;
    case 'D': view.dead = false; break;
    case 't': view.total = !view.total; break;
    case 'h':
    case '?':
    case kEnter: view.help = true; break;
    case kLeft: neighbour(-1); break;
    case kRight: neighbour(1); break;
    case 'n': neighbour(20); break;
    case 'p': neighbour(-20); break;
    default:
      if (key > 32 && key < 127) mon_option(std::string("-") + static_cast<char>(key), view);
  }
  return true;
}

bool mon_option(const std::string& word, MonView& view) {
  if (word.size() < 2) return false;
  if (word[0] == '+') {
    if (word.size() > 6 || word.find_first_not_of("0123456789", 1) != std::string::npos) return false;
    view.first = static_cast<unsigned>(std::stoul(word.substr(1)));
    return true;
  }
  if (word[0] != '-') return false;
  for (const char c : word.substr(1)) {
    switch (c) {
      case 'w': view.numbers = MonNumbers::Wide; break;
      case 'v': view.numbers = MonNumbers::Vertical; break;
      case 'V': view.numbers = MonNumbers::Dense; break;
      case 'a': view.numbers = MonNumbers::Auto; break;
      case 's': view.what = MonWhat::Speed; break;
      case 'm': view.what = MonWhat::Memory; break;
      case 'r': view.what = MonWhat::RawMemory; break;
      case 'u': view.what = MonWhat::Util; break;
      case 'l': view.what = MonWhat::Load; break;
      case 'L': view.what = MonWhat::LogLoad; break;
      case 't': view.total = true; break;
      case 'd': view.dead = true; break;
      default: return false;
    }
  }
  return true;
}

}  // namespace hpcvmm::cli
