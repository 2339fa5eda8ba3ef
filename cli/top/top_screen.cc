#include "cli/top/top_screen.hh"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <sstream>

#include "cli/cluster/ask.hh"

namespace hpcvmm::cli {

namespace {

/// Columns that a node's line needs besides the two bars and the orders.
constexpr int kNodeFixed = 46;

std::string cpu_time(std::uint64_t ms) {
  const std::uint64_t seconds = ms / 1000;
  const auto two = [](std::uint64_t n) { return (n < 10 ? "0" : "") + std::to_string(n); };
  if (seconds < 6000)
    return std::to_string(seconds / 60) + ":" + two(seconds % 60) + "." + two(ms % 1000 / 10);
  return std::to_string(seconds / 3600) + "h" + two(seconds / 60 % 60) + "m";
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& w : words) out += (out.empty() ? "" : " ") + w;
  return out;
}

std::string whole_or_two(double value) { return fixed(value, value == std::floor(value) ? 0 : 2); }

Style by_share(double share) { return share > 1.0 ? Style::Full : share > 0.75 ? Style::Busy : Style::Good; }

void put_bar(Canvas& c, int row, int column, double share, int width) {
  const std::string text = bar(share, width);
  c.put(row, column, "[");
  c.put(row, column + 1, text.substr(1, text.size() - 2), by_share(share));
  c.put(row, column + width + 1, "]");
}

int bar_width(int screen) { return std::clamp((screen - kNodeFixed - 14) / 2, 4, 40); }

void draw_node(Canvas& c, int row, const NodeRow& n, bool self) {
  const int w = bar_width(c.width());
  c.put(row, 0, right(std::to_string(n.id), 5), self ? Style::Bold : Style::Plain);
  c.put(row, 6, left(n.state, 8), n.up() ? Style::Good : n.state == "suspect" ? Style::Busy : Style::Full);
  c.put(row, 15, right(whole_or_two(n.cpus), 4));
  if (!n.up()) {
    c.put(row, 20, n.why, Style::Dim);
    return;
  }
  int at = 20;
  put_bar(c, row, at, n.relative_load(), w);
  at += w + 2;
  c.put(row, at, right(fixed(n.load, 2), 6));
  at += 7;
  const double used =
      n.memory_total == 0 ? 0 : static_cast<double>(n.memory_used()) / static_cast<double>(n.memory_total);
  put_bar(c, row, at, used, w);
  at += w + 2;
  c.put(row, at, right(human_bytes(n.memory_used()) + "/" + human_bytes(n.memory_total), 10));
  at += 10;
  c.put(row, at, right(std::to_string(n.guests), 4));
  c.put(row, at + 5, joined(n.orders), Style::Busy);
}

void draw_head(Canvas& c, const TopView& view, const Snapshot& s) {
  const auto up = std::count_if(s.nodes.begin(), s.nodes.end(), [](const NodeRow& n) { return n.up(); });
  const auto away = std::count_if(s.processes.begin(), s.processes.end(),
                                  [](const ProcessRow& p) { return p.where != p.home; });
  double cpus = 0;
  for (const NodeRow& n : s.nodes) cpus += n.up() ? n.cpus : 0;
  std::string text = "hpc-vmm top  " + std::to_string(up) + " of " + std::to_string(s.nodes.size()) +
                     " nodes up, " + whole_or_two(cpus) + " CPUs, " + std::to_string(s.processes.size()) +
                     " processes, " + std::to_string(away) + " away";
  c.put(0, 0, text, Style::Bold);
  const std::string tail = std::string("by ") + sort_name(view.sort) + "  " + s.clock;
  c.put(0, std::max(static_cast<int>(text.size()) + 2, c.width() - static_cast<int>(tail.size())), tail);
}

void draw_nodes(Canvas& c, TopView& view, const Snapshot& s, int rows) {
  const int w = bar_width(c.width());
  std::string head = " NODE STATE    CPUS " + left("LOAD", w + 9) + left("MEMORY", w + 2) + "      USED/OF";
  head = left(head, 20 + w + 9 + w + 2 + 10) + " GST ORDERS";
  c.put(1, 0, head);
  c.paint(1, Style::Title);
  const int most = std::max(0, static_cast<int>(s.nodes.size()) - rows);
  view.first_node = std::clamp(view.first_node, 0, most);
  for (int i = 0; i < rows && i + view.first_node < static_cast<int>(s.nodes.size()); ++i) {
    const NodeRow& n = s.nodes[static_cast<std::size_t>(i + view.first_node)];
    draw_node(c, 2 + i, n, n.id == s.self);
  }
}

std::string flags_of(const ProcessRow& p) {
  std::string flags;
  flags += p.locked ? 'L' : '-';
  flags += p.home_only ? 'H' : p.run_on != 0 ? 'P' : p.masked ? 'M' : '-';
  flags += p.kind == "cpu" ? 'C' : p.kind == "io" ? 'I' : '-';
  flags += p.cantmove.empty() ? '-' : '!';
  return flags;
}

void draw_processes(Canvas& c, const TopView& view, const Snapshot& s, int top, int rows) {
  c.put(top, 0, "    PID USER     HOME WHERE  %CPU MEMORY      TIME MOVES FLAG COMMAND");
  c.paint(top, Style::Title);
  for (int i = 0; i < rows; ++i) {
    const auto index = static_cast<std::size_t>(i + view.first);
    if (index >= s.processes.size()) break;
    const ProcessRow& p = s.processes[index];
    const int row = top + 1 + i;
    c.put(row, 0,
          right(std::to_string(p.pid), 7) + " " + left(p.user, 8) + " " + right(std::to_string(p.home), 4) +
              " " + right(std::to_string(p.where), 5) + " " + right(fixed(p.cpu_percent, 1), 5) + " " +
              right(human_bytes(p.memory), 6) + " " + right(cpu_time(p.cpu_ms), 9) + " " +
              right(std::to_string(p.migrations), 5) + " " + flags_of(p) + " " +
              (c.width() > 110 ? p.command : p.comm),
          p.where != p.home ? Style::Bold : Style::Plain);
    if (p.is(view.home, view.pid)) c.paint(row, Style::Selected);
  }
}

void draw_last_line(Canvas& c, const TopView& view) {
  const int row = c.height() - 1;
  if (view.asking == 'm') {
    c.put(row, 0,
          "Move " + std::to_string(view.pid) + " to node (number, h home, b balance): " + view.typed + "_",
          Style::Bold);
  } else if (view.asking == 'k') {
    c.put(row, 0, "Signal for " + std::to_string(view.pid) + " (usually 15): " + view.typed + "_",
          Style::Bold);
  } else if (!view.message.empty()) {
    c.put(row, 0, view.message, Style::Bold);
  } else {
    c.put(row, 0, "m move  l lock  k kill  w why  s sort  [ ] nodes  ? help  q quit", Style::Dim);
  }
}

int selected_index(const TopView& view, const Snapshot& s) {
  for (std::size_t i = 0; i < s.processes.size(); ++i)
    if (s.processes[i].is(view.home, view.pid)) return static_cast<int>(i);
  return -1;
}

void select(TopView& view, const Snapshot& s, int index) {
  if (s.processes.empty()) {
    view.home = 0;
    view.pid = 0;
    return;
  }
  const ProcessRow& p =
      s.processes[static_cast<std::size_t>(std::clamp(index, 0, static_cast<int>(s.processes.size()) - 1))];
  view.home = p.home;
  view.pid = p.pid;
}

std::vector<std::string> help_lines() {
  return {"m  move the process: a node's number, h home, b as the balancer likes",
          "l  lock it where it is, or unlock it",
          "k  send it a signal, by number",
          "w  why it is where it is, and what moving it would cost",
          "s  sort by CPU, memory, time, node, number",
          "Up Down PageUp PageDown Home End   the cursor",
          "[ ]   other nodes, where not all fit      r  refresh      q  quit",
          "",
          "FLAG: L locked, H home only, P pinned, M mask, C cpu, I io, ! cannot move",
          "Any key ends this."};
}

std::optional<Action> finish_line(TopView& view) {
  const char key = view.asking;
  const std::string typed = view.typed;
  view.asking = 0;
  view.typed.clear();
  const bool number =
      !typed.empty() && typed.size() < 6 && typed.find_first_not_of("0123456789") == std::string::npos;
  Action a;
  a.home = view.home;
  a.pid = view.pid;
  const std::string name = std::to_string(view.pid);
  if (key == 'k') {
    if (!typed.empty() && !number) {
      view.message = typed + " is not the number of a signal";
      return {};
    }
    a.kind = Action::Kind::Kill;
    a.signal = typed.empty() ? 15 : std::stoi(typed);
    a.what = "signal " + std::to_string(a.signal) + " to " + name;
    return a;
  }
  if (typed.empty()) return {};
  a.kind = Action::Kind::Request;
  a.request = {{"op", "migrate"}, {"pid", view.pid}, {"home", view.home}};
  if (typed == "h" || typed == "home")
    a.request["to"] = "home";
  else if (typed == "b" || typed == "balance")
    a.request["to"] = "balance";
  else if (number)
    a.request["to"] = std::stoi(typed);
  else {
    view.message = typed + " is neither a node's number nor h nor b";
    return {};
  }
  a.what = "move " + name + " to " + (number ? "node " + typed : a.request["to"].get<std::string>());
  return a;
}

std::optional<Action> line_key(TopView& view, int key) {
  if (key == kEnter || key == '\n' || key == '\r') return finish_line(view);
  if (key == kEscape) {
    view.asking = 0;
    view.typed.clear();
  } else if (key == kBackspace || key == 127 || key == 8) {
    if (!view.typed.empty()) view.typed.pop_back();
  } else if (key > 32 && key < 127 && view.typed.size() < 12) {
    view.typed += static_cast<char>(key);
  }
  return {};
}

std::optional<Action> process_key(TopView& view, const Snapshot& s, int key) {
  const int index = selected_index(view, s);
  if (index < 0) {
    view.message = "no process is under the cursor";
    return {};
  }
  const ProcessRow& p = s.processes[static_cast<std::size_t>(index)];
  if (key == 'm' || key == 'k') {
    view.asking = static_cast<char>(key);
    return {};
  }
  Action a;
  a.kind = Action::Kind::Request;
  a.home = p.home;
  a.pid = p.pid;
  if (key == 'l') {
    a.request = {{"op", "process"}, {"pid", p.pid}, {"home", p.home}, {"set", {{"locked", !p.locked}}}};
    a.what = (p.locked ? "unlock " : "lock ") + std::to_string(p.pid);
  } else {
    a.request = {{"op", "why"}, {"pid", p.pid}, {"home", p.home}};
    a.what = "why " + std::to_string(p.pid) + " is on node " + std::to_string(p.where);
    a.explain = true;
  }
  return a;
}

int process_rows(const Snapshot& s, int height) {
  return std::max(1, height - 2 - node_rows(s, height) - 1 - 1);
}

}  // namespace

std::string bar(double share, int width) {
  const int full = static_cast<int>(std::lround(std::clamp(share, 0.0, 1.0) * width));
  return "[" + std::string(static_cast<std::size_t>(full), '|') +
         std::string(static_cast<std::size_t>(width - full), ' ') + "]";
}

int node_rows(const Snapshot& s, int height) {
  return std::clamp(static_cast<int>(s.nodes.size()), 1, std::max(1, height / 3));
}

void draw_top(TopView& view, const Snapshot& s, Canvas& canvas) {
  if (!s.error.empty()) {
    canvas.put(0, 0, "hpc-vmm top  " + s.clock, Style::Bold);
    canvas.put(2, 0, s.error, Style::Full);
    draw_last_line(canvas, view);
    return;
  }
  const int nodes = node_rows(s, canvas.height());
  const int rows = process_rows(s, canvas.height());
  draw_head(canvas, view, s);
  draw_nodes(canvas, view, s, nodes);
  if (selected_index(view, s) < 0) select(view, s, view.first);
  const int cursor = std::max(0, selected_index(view, s));
  if (cursor < view.first) view.first = cursor;
  if (cursor >= view.first + rows) view.first = cursor - rows + 1;
  view.first = std::clamp(view.first, 0, std::max(0, static_cast<int>(s.processes.size()) - 1));
  const int top = 2 + nodes;
  if (view.overlay.empty()) {
    draw_processes(canvas, view, s, top, rows);
    if (s.processes.empty())
      canvas.put(top + 1, 0, "    no process; hpc-vmm launch PROGRAM starts one", Style::Dim);
  } else {
    for (int i = 0; i < rows + 1 && i < static_cast<int>(view.overlay.size()); ++i)
      canvas.put(top + i, 1, view.overlay[static_cast<std::size_t>(i)], i == 0 ? Style::Bold : Style::Plain);
  }
  if (!s.lost.empty() && view.message.empty()) {
    std::string list;
    for (const unsigned n : s.lost) list += " " + std::to_string(n);
    canvas.put(canvas.height() - 1, 0, "no answer about the processes of node" + list, Style::Full);
    return;
  }
  draw_last_line(canvas, view);
}

std::optional<Action> top_key(TopView& view, const Snapshot& s, int key, int height) {
  view.message.clear();
  if (!view.overlay.empty()) {
    view.overlay.clear();
    return {};
  }
  if (view.asking != 0) return line_key(view, key);
  const int page = process_rows(s, height);
  const int index = selected_index(view, s);
  switch (key) {
    case 'q':
    case 'Q': return Action{Action::Kind::Quit, {}, {}, 0, 0, 0, false};
    case 'r': return Action{Action::Kind::Refresh, {}, {}, 0, 0, 0, false};
    case 's': view.sort = static_cast<SortBy>((static_cast<int>(view.sort) + 1) % 5); return {};
    case '[': --view.first_node; return {};
    case ']': ++view.first_node; return {};
    case kUp: select(view, s, index - 1); return {};
    case kDown: select(view, s, index + 1); return {};
    case kPageUp: select(view, s, index - page); return {};
    case kPageDown: select(view, s, index + page); return {};
    case kHome: select(view, s, 0); return {};
    case kEnd: select(view, s, static_cast<int>(s.processes.size()) - 1); return {};
    case 'm':
    case 'k':
    case 'l':
    case 'w': return process_key(view, s, key);
    case '?':
    case 'h': view.overlay = help_lines(); return {};
    default: return {};
  }
}

std::vector<std::string> why_lines(const nlohmann::json& answer, std::size_t width) {
  const nlohmann::json why = answer.value("why", nlohmann::json::object());
  std::vector<std::string> out;
  const auto add = [&out, width](const std::string& text) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      while (line.size() > width) {
        std::size_t cut = line.rfind(' ', width);
        if (cut == std::string::npos || cut == 0) cut = width;
        out.push_back(line.substr(0, cut));
        line.erase(0, line[std::min(cut, line.size() - 1)] == ' ' ? cut + 1 : cut);
      }
      out.push_back(line);
    }
  };
  const std::string title = "Process " + std::to_string(why.value("pid", 0)) + ", home " +
                            std::to_string(why.value("home", 0U)) + ", on node " +
                            std::to_string(why.value("where", 0U));
  add(title + (why.contains("reason") && why["reason"].is_string() ? ": " + why.value("reason", "") : ""));
  if (why.contains("text") && why["text"].is_string()) {
    out.emplace_back();
    add(why["text"].get<std::string>());
  } else {
    for (const nlohmann::json& n : why.value("nodes", nlohmann::json::array())) {
      std::string line = "  node " + std::to_string(n.value("id", 0U));
      if (n.contains("cost") && n["cost"].is_number()) line += "  cost " + fixed(n["cost"].get<double>(), 3);
      if (n.contains("why_not") && n["why_not"].is_string()) line += "  " + n["why_not"].get<std::string>();
      add(line);
    }
  }
  return out;
}

}  // namespace hpcvmm::cli
