// The monitors' screens and keys, from answers as hpcd gives them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/top/mon_screen.hh"
#include "cli/top/top_screen.hh"

namespace hpcvmm::cli {
namespace {

using nlohmann::json;
using testing::HasSubstr;

const char* const kNodes = R"({"ok":true,"self":1,"nodes":[
  {"id":2,"state":"up","cpus":2,"speed":1.0,"run_queue":4.0,"memory_total":8589934592,"memory_free":2147483648,
   "guests":1,"orders":["stay","block"],"owner_active":true},
  {"id":1,"state":"up","cpus":2,"load":0.5,"memory_total":8589934592,"memory_free":8589934592,"guests":0},
  {"id":3,"state":"down","cpus":2,"why":"no answer for 5 s"}]})";
const char* const kPs = R"({"ok":true,"lost":[],"processes":[
  {"pid":100,"uid":0,"home":1,"where":2,"memory":104857600,"cpu_ms":61230,"migrations":2,"comm":"simulate",
   "locked":true,"kind":"cpu","cantmove":""},
  {"pid":200,"uid":33,"home":1,"where":1,"memory":4096,"cpu_ms":10,"migrations":0,"comm":"cat","cantmove":"a device"}]})";
const char* const kPasswd = "root:x:0:0::/root:/bin/sh\nwww-data:x:33:33::/:/bin/sh\n";

Snapshot sample(std::uint64_t at_ms, std::uint64_t cpu_ms) {
  json ps = json::parse(kPs);
  ps["processes"][0]["cpu_ms"] = cpu_ms;
  Snapshot s = read_snapshot(json::parse(kNodes), ps, kPasswd);
  s.at_ms = at_ms;
  s.clock = "12:00:00";
  return s;
}

Snapshot sample() {
  Snapshot s = sample(2000, 2800);
  set_cpu_percent(s, sample(1000, 2000));
  sort_processes(s.processes, SortBy::Cpu);
  return s;
}

std::string screen(TopView& view, const Snapshot& s, int width = 80, int height = 24) {
  Canvas c(width, height);
  draw_top(view, s, c);
  return c.text();
}

TEST(TopModel, CpuUseIsOfTheTimeBetween) {
  const Snapshot s = sample();
  ASSERT_EQ(s.processes.size(), 2U);
  EXPECT_EQ(s.processes[0].pid, 100);
  EXPECT_DOUBLE_EQ(s.processes[0].cpu_percent, 80);
  EXPECT_DOUBLE_EQ(s.processes[1].cpu_percent, 0);
  Snapshot less = sample(3000, 10);  // its node has not reported yet
  set_cpu_percent(less, s);
  EXPECT_DOUBLE_EQ(less.processes[0].cpu_percent, 0);
}

TEST(TopModel, LoadIsSpreadOverWhatTheNodeHas) {
  const Snapshot s = sample();
  EXPECT_EQ(s.nodes[0].id, 1U) << "by number";
  EXPECT_DOUBLE_EQ(s.nodes[0].relative_load(), 0.25);
  EXPECT_DOUBLE_EQ(s.nodes[1].relative_load(), 2);
}

TEST(TopScreen, FitsATerminal) {
  TopView view;
  const Snapshot s = sample();
  const std::string text = screen(view, s);
  EXPECT_THAT(text, HasSubstr("2 of 3 nodes up, 4 CPUs, 2 processes, 1 away"));
  EXPECT_THAT(text, HasSubstr("stay block ow")) << "orders, and the owner at work; cut off at the edge";
  EXPECT_THAT(text, HasSubstr("no answer for 5 s"));
  EXPECT_THAT(text, HasSubstr("    100 root        1     2  80.0   100M   0:02.80     2 L-C- simulate"));
  EXPECT_THAT(text, HasSubstr("    200 www-data    1     1   0.0   4.0K   0:00.01     0 ---! cat"));
  EXPECT_THAT(text, HasSubstr("6.0G/8.0G"));
  std::istringstream lines(text);
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) EXPECT_LE(line.size(), 80U) << line;
  EXPECT_EQ(count, 24);
}

TEST(TopScreen, AnySize) {
  TopView view;
  const Snapshot s = sample();
  for (const auto& [w, h] : {std::pair{1, 1}, {10, 3}, {40, 5}, {80, 7}, {200, 60}, {400, 2}}) {
    screen(view, s, w, h);
    top_key(view, s, kDown, h);
  }
  Snapshot many = s;
  for (unsigned i = 0; i < 200; ++i) {
    many.nodes.push_back(many.nodes[0]);
    many.nodes.back().id = 10 + i;
    many.processes.push_back(many.processes[1]);
    many.processes.back().pid = 1000 + static_cast<int>(i);
  }
  EXPECT_EQ(node_rows(many, 24), 8) << "no more than a third";
  top_key(view, many, kEnd, 24);
  EXPECT_THAT(screen(view, many), HasSubstr("1199 www-data")) << "the cursor is always on the screen";
  for (int i = 0; i < 500; ++i) top_key(view, many, ']', 24);
  EXPECT_THAT(screen(view, many), HasSubstr("  209 up"));
}

TEST(TopScreen, SaysWhatIsWrong) {
  TopView view;
  const Snapshot s = read_snapshot({{"ok", false}, {"error", "no cluster is up"}}, json::object(), "");
  EXPECT_THAT(screen(view, s), HasSubstr("no cluster is up"));
  Snapshot lost = sample();
  lost.lost = {3};
  EXPECT_THAT(screen(view, lost), HasSubstr("no answer about the processes of node 3"));
}

TEST(TopScreen, Cursor) {
  TopView view;
  const Snapshot s = sample();
  screen(view, s);
  EXPECT_EQ(view.pid, 100);
  EXPECT_FALSE(top_key(view, s, kDown, 24));
  EXPECT_EQ(view.pid, 200);
  top_key(view, s, kDown, 24);
  EXPECT_EQ(view.pid, 200) << "the last";
  Snapshot gone = s;
  gone.processes.pop_back();
  screen(view, gone);
  EXPECT_EQ(view.pid, 100) << "the process under it has ended";
  gone.processes.clear();
  EXPECT_THAT(screen(view, gone), HasSubstr("no process"));
  EXPECT_EQ(view.pid, 0);
  EXPECT_FALSE(top_key(view, gone, 'm', 24));
  EXPECT_EQ(view.asking, 0);
}

std::optional<Action> type(TopView& view, const Snapshot& s, const std::string& keys) {
  std::optional<Action> a;
  for (const char c : keys) a = top_key(view, s, c == '\n' ? static_cast<int>(kEnter) : c, 24);
  return a;
}

TEST(TopKeys, Move) {
  TopView view;
  const Snapshot s = sample();
  screen(view, s);
  EXPECT_FALSE(type(view, s, "m12"));
  EXPECT_THAT(screen(view, s), HasSubstr("Move 100 to node (number, h home, b balance): 12_"));
  top_key(view, s, kBackspace, 24);
  std::optional<Action> a = type(view, s, "\n");
  ASSERT_TRUE(a);
  EXPECT_EQ(a->request, json::parse(R"({"op":"migrate","pid":100,"home":1,"to":1})"));
  a = type(view, s, "mh\n");
  ASSERT_TRUE(a);
  EXPECT_EQ(a->request["to"], "home");
  a = type(view, s, "mb\n");
  ASSERT_TRUE(a);
  EXPECT_EQ(a->request["to"], "balance");
  EXPECT_FALSE(type(view, s, "mx\n"));
  EXPECT_THAT(screen(view, s), HasSubstr("x is neither a node's number"));
  EXPECT_FALSE(type(view, s, "m\n")) << "nothing typed, nothing done";
  type(view, s, "m3");
  top_key(view, s, kEscape, 24);
  EXPECT_EQ(view.asking, 0);
}

TEST(TopKeys, LockKillWhyQuit) {
  TopView view;
  const Snapshot s = sample();
  screen(view, s);
  std::optional<Action> a = type(view, s, "l");
  ASSERT_TRUE(a);
  EXPECT_EQ(a->request, json::parse(R"({"op":"process","pid":100,"home":1,"set":{"locked":false}})"));
  a = type(view, s, "k\n");
  ASSERT_TRUE(a);
  EXPECT_EQ(a->kind, Action::Kind::Kill);
  EXPECT_EQ(a->signal, 15);
  a = type(view, s, "k9\n");
  ASSERT_TRUE(a);
  EXPECT_EQ(a->signal, 9);
  a = type(view, s, "w");
  ASSERT_TRUE(a);
  EXPECT_TRUE(a->explain);
  EXPECT_EQ(a->request, json::parse(R"({"op":"why","pid":100,"home":1})"));
  view.overlay = why_lines(json::parse(R"({"ok":true,"why":{"pid":100,"home":1,"where":2,"reason":"load",
    "text":"It stays on node 2 because a move would cost more than it saves there."}})"),
                           40);
  EXPECT_THAT(screen(view, s), HasSubstr("Process 100, home 1, on node 2: load"));
  EXPECT_THAT(screen(view, s), HasSubstr("It stays on node 2 because a move would\n cost more"));
  EXPECT_FALSE(type(view, s, "q")) << "the key ends the text";
  a = type(view, s, "q");
  ASSERT_TRUE(a);
  EXPECT_EQ(a->kind, Action::Kind::Quit);
}

std::string mon(const MonView& view, const Snapshot& s, int width = 60, int height = 16) {
  Canvas c(width, height);
  draw_mon(view, s, c);
  return c.text();
}

TEST(Mon, Bars) {
  MonView view;
  const Snapshot s = sample();
  const std::string text = mon(view, s);
  EXPECT_THAT(text, testing::StartsWith("LOAD"));
  EXPECT_THAT(text, HasSubstr("2.00 |    ##")) << "node 2 is as high as the scale";
  EXPECT_THAT(text, HasSubstr("0.00 | ## ##")) << "node 1 is an eighth of it";
  EXPECT_THAT(text, HasSubstr("         1  2\n")) << "node 3 is down";
  EXPECT_THAT(text, testing::Not(HasSubstr("1  2  3")));
}

TEST(Mon, OptionsAndKeys) {
  const Snapshot s = sample();
  MonView view;
  EXPECT_TRUE(mon_option("-mtd", view));
  const std::string text = mon(view, s);
  EXPECT_THAT(text, testing::StartsWith("MEMORY"));
  EXPECT_THAT(text, HasSubstr("Total: 2 nodes up, 4 CPUs"));
  EXPECT_THAT(text, HasSubstr("A")) << "DEAD, upright";
  EXPECT_TRUE(mon_option("+2", view));
  EXPECT_EQ(view.first, 2U);
  EXPECT_FALSE(mon_option("-x", view));
  EXPECT_FALSE(mon_option("+x", view));
  EXPECT_FALSE(mon_option("5", view));
  EXPECT_TRUE(mon_key(view, s, 'u'));
  EXPECT_EQ(view.what, MonWhat::Util);
  EXPECT_TRUE(mon_key(view, s, 'D'));
  EXPECT_FALSE(view.dead);
  EXPECT_TRUE(mon_key(view, s, kLeft));
  EXPECT_EQ(view.first, 1U);
  EXPECT_TRUE(mon_key(view, s, 'V'));
  EXPECT_EQ(view.numbers, MonNumbers::Dense);
  EXPECT_TRUE(mon_key(view, s, 'h'));
  EXPECT_THAT(mon(view, s, 80), HasSubstr("utilizability"));
  EXPECT_TRUE(mon_key(view, s, 'q')) << "ends the help";
  EXPECT_FALSE(mon_key(view, s, 'q'));
  for (const auto& [w, h] : {std::pair{1, 1}, {9, 4}, {300, 5}, {12, 80}}) mon(view, s, w, h);
}

TEST(Mon, NumbersAsTheyFit) {
  Snapshot s = sample();
  s.nodes.resize(1);
  for (unsigned i = 0; i < 30; ++i) {
    s.nodes.push_back(s.nodes[0]);
    s.nodes.back().id = 100 + i;
  }
  MonView view;
  EXPECT_THAT(mon(view, s, 200), HasSubstr("100  101  102")) << "side by side where there is room";
  EXPECT_THAT(mon(view, s, 80), HasSubstr("1 1 1 1")) << "upright where there is not";
  EXPECT_THAT(mon(view, s, 45), HasSubstr("1111111")) << "dense";
}

TEST(Canvas, KeepsToItself) {
  Canvas c(5, 2);
  c.put(0, 3, "abc");
  c.put(-1, 0, "x");
  c.put(2, 0, "x");
  c.put(1, -2, "xyz");
  c.put(1, 1, "\x1b\n");
  EXPECT_EQ(c.text(), "   ab\nz??\n") << "nothing a terminal would obey";
}

}  // namespace
}  // namespace hpcvmm::cli
