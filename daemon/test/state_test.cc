// Goal: the parts of hpcd that are pure state or text do what their headers say.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "daemon/facts.hh"
#include "daemon/local_codec.hh"
#include "daemon/members.hh"
#include "daemon/metrics_text.hh"
#include "daemon/peer_message.hh"
#include "daemon/request.hh"

namespace hpcvmm::daemon {
namespace {

using testing::HasSubstr;
using testing::StartsWith;
namespace local = wire::local;

// --- members

Members three() { return {1, "a:1", {{2, "b:1"}, {3, "c:1"}}}; }

TEST(Members, EpochGrowsWithEachJoinAndLeave) {
  Members m = three();
  const std::uint64_t first = m.epoch();
  m.on_up(2, 0);
  EXPECT_EQ(m.epoch(), first + 1);
  m.on_down(2, "silent");
  EXPECT_EQ(m.epoch(), first + 2);
  m.on_down(2, "again");
  EXPECT_EQ(m.epoch(), first + 2) << "leaves once";
  m.on_up(3, 0);
  peer::Gossip g;
  g.epoch = 50;
  m.on_gossip(3, g, 0);
  EXPECT_EQ(m.epoch(), 50U) << "never behind what others say";
}

TEST(Members, States) {
  Members m = three();
  EXPECT_THAT(m.cannot_take(2), HasSubstr("is down: not seen yet"));
  m.on_up(2, 1000);
  EXPECT_EQ(m.cannot_take(2), "");
  m.on_suspect(2, true);
  EXPECT_EQ(m.find(2)->state, peer::NodeState::Suspect);
  EXPECT_NE(m.cannot_take(2), "");
  peer::Gossip g;
  g.state = peer::NodeState::Draining;
  m.on_gossip(2, g, 5000);
  EXPECT_THAT(m.cannot_take(2), HasSubstr("drained"));
  g.state = peer::NodeState::Up;
  m.on_gossip(2, g, 5001);
  EXPECT_EQ(m.cannot_take(2), "");
  m.on_down(2, "it has ended");
  EXPECT_THAT(m.cannot_take(2), HasSubstr("it has ended"));
  m.on_gossip(2, g, 5002);
  EXPECT_EQ(m.find(2)->state, peer::NodeState::Down) << "late gossip of a lost node does not revive it";
  EXPECT_THAT(m.cannot_take(9), HasSubstr("there is no node 9"));
}

TEST(Members, ReachableIsWhoIsConnected) {
  Members m = three();
  EXPECT_TRUE(m.reachable().empty());
  m.on_up(3, 0);
  EXPECT_THAT(m.reachable(), testing::ElementsAre(3U));
  m.on_down(1, "never ourselves");
  EXPECT_EQ(m.find(1)->state, peer::NodeState::Up);
}

// --- requests

std::string wrong(const std::string& text) {
  const auto r = parse_request(text);
  return std::holds_alternative<Refusal>(r) ? std::get<Refusal>(r).text : "";
}

TEST(Request, Good) {
  const auto r =
      std::get<Request>(parse_request(R"({"op":"migrate","pid":4711,"to":3,"mode":"precopy","home":2})"));
  EXPECT_EQ(r.op, Request::Op::Migrate);
  EXPECT_EQ(r.pid, 4711);
  EXPECT_EQ(r.to, 3U);
  EXPECT_EQ(r.home, 2U);
  EXPECT_EQ(r.mode, local::Mode::Precopy);
  EXPECT_EQ(std::get<Request>(parse_request(R"({"op":"migrate","pid":1,"to":"home"})")).to, 0U);
  EXPECT_EQ(std::get<Request>(parse_request(R"({"op":"faults","spec":""})")).op, Request::Op::Faults);
}

TEST(Request, Wrong) {
  EXPECT_THAT(wrong("x"), HasSubstr("not a JSON object"));
  EXPECT_THAT(wrong("[]"), HasSubstr("not a JSON object"));
  EXPECT_THAT(wrong("{}"), HasSubstr("`op` is missing"));
  EXPECT_THAT(wrong(R"({"op":"fly"})"), HasSubstr("unknown `op`"));
  EXPECT_THAT(wrong(R"({"op":"ps","colour":1})"), HasSubstr("unknown key `colour`"));
  EXPECT_THAT(wrong(R"({"op":"migrate","to":2})"), HasSubstr("`pid` is missing"));
  EXPECT_THAT(wrong(R"({"op":"migrate","pid":5})"), HasSubstr("`to` is missing"));
  EXPECT_THAT(wrong(R"({"op":"migrate","pid":5,"to":"moon"})"), HasSubstr("`to` must be"));
  EXPECT_THAT(wrong(R"({"op":"find","pid":-5})"), HasSubstr("`pid` must be"));
  EXPECT_THAT(wrong(R"({"op":"find","pid":18446744073709551615})"), HasSubstr("`pid` must be"));
  EXPECT_THAT(wrong(R"({"op":"find","pid":1.5})"), HasSubstr("`pid` must be"));
  EXPECT_THAT(wrong(R"({"op":"migrate","pid":5,"to":2,"mode":"warp"})"), HasSubstr("`mode` must be"));
  EXPECT_THAT(wrong("{\"op\":\"" + std::string(20'000, 'a') + "\"}"), HasSubstr("too long"));
  EXPECT_NE(wrong(std::string(10'000, '[')), "");
}

TEST(Request, TextAndBack) {
  Request r;
  r.op = Request::Op::Migrate;
  r.pid = 77;
  r.to = 3;
  r.uid = 1000;
  r.local = true;
  r.mode = local::Mode::Postcopy;
  const auto back = std::get<Request>(parse_request(request_text(r)));
  EXPECT_EQ(request_text(back), request_text(r));
  EXPECT_EQ(back.uid, 1000U);
  EXPECT_TRUE(back.local);
}

// --- messages of VMM processes

template <class T> std::span<const std::byte> bytes(const T& m) { return std::as_bytes(std::span(&m, 1)); }

TEST(LocalCodec, Good) {
  local::Register r;
  set_text(r.comm, "a\nb\x1b[31m");
  const auto m = parse_local(bytes(r));
  ASSERT_TRUE(std::holds_alternative<local::Register>(m));
  EXPECT_EQ(get_text(std::get<local::Register>(m).comm), "a?b?[31m") << "nothing a terminal would obey";
  std::fill(std::begin(r.exe), std::end(r.exe), 'x');
  EXPECT_EQ(get_text(std::get<local::Register>(parse_local(bytes(r))).exe).size(), sizeof r.exe - 1);
  local::Header adopt{local::Type::Adopt, local::kVersion, sizeof(local::Header)};
  EXPECT_TRUE(std::holds_alternative<Adopt>(parse_local(bytes(adopt))));
}

TEST(LocalCodec, Bad) {
  const auto is_bad = [](const auto& m) { return std::holds_alternative<BadMessage>(parse_local(bytes(m))); };
  local::Register r;
  r.role = static_cast<local::Role>(9);
  EXPECT_TRUE(is_bad(r));
  r = {};
  r.settings.mask_count = local::kMostMaskNodes + 1;
  EXPECT_TRUE(is_bad(r));
  r = {};
  r.settings.mask_count = 1;  // of node 0
  EXPECT_TRUE(is_bad(r));
  r = {};
  r.settings.decay = static_cast<local::Decay>(4);
  EXPECT_TRUE(is_bad(r));
  r = {};
  r.header.version = local::kVersion + 1;
  EXPECT_TRUE(is_bad(r));
  r = {};
  r.header.bytes = 7;
  EXPECT_TRUE(is_bad(r));
  r = {};
  r.header.type = local::Type::Open;
  EXPECT_TRUE(is_bad(r)) << "the size of another message";
  local::Open o;
  EXPECT_TRUE(is_bad(o)) << "channel 0";
  o.channel = 65536;
  EXPECT_TRUE(is_bad(o));
  o.channel = 65535;
  EXPECT_FALSE(is_bad(o));
  EXPECT_TRUE(is_bad(local::Welcome{})) << "ours, not theirs";
}

// --- messages of nodes

TEST(PeerMessage, Checked) {
  peer::OpenRequest o;
  EXPECT_TRUE(std::holds_alternative<peer::Bad>(peer::parse(peer::bytes_of(o)))) << "circuit 0";
  o.circuit = 1;
  EXPECT_TRUE(std::holds_alternative<peer::OpenRequest>(peer::parse(peer::bytes_of(o))));
  peer::Gossip g;
  g.state = static_cast<peer::NodeState>(7);
  EXPECT_TRUE(std::holds_alternative<peer::Bad>(peer::parse(peer::bytes_of(g))));
  EXPECT_TRUE(std::holds_alternative<peer::Bad>(peer::parse({})));
  peer::Rpc rpc;
  EXPECT_TRUE(std::holds_alternative<peer::RpcMessage>(peer::parse(peer::bytes_of(rpc))));
  rpc.kind = static_cast<peer::RpcKind>(3);
  EXPECT_TRUE(std::holds_alternative<peer::Bad>(peer::parse(peer::bytes_of(rpc))));
}

// --- /proc

TEST(Facts, Texts) {
  EXPECT_EQ(meminfo_bytes("MemTotal:       16 kB\nMemAvailable:    8 kB\n", "MemAvailable"), 8192U);
  EXPECT_EQ(meminfo_bytes("MemTotalX: 5 kB\n", "MemTotal"), 0U);
  EXPECT_EQ(stat_ticks("1 (a) b) (x) S 4 5 6 7 8 9 10 11 12 13 140 150 16"), 290U);
  EXPECT_EQ(stat_ticks("1 (a) S 4"), 0U);
  EXPECT_EQ(stat_state("1 (a) b) (x) T 4 5"), 'T');
  EXPECT_EQ(stat_state("1 (a)"), 0);
  EXPECT_EQ(stat_state(""), 0);
  EXPECT_EQ(stat_ticks(""), 0U);
  EXPECT_EQ(stat_parent("1 (a) b) (x) S 4 5 6"), 4);
  EXPECT_EQ(stat_parent("1 (a)"), 0);
}

TEST(Facts, OfThisMachine) {
  EXPECT_GT(host_facts().memory_total, 1U << 20);
  EXPECT_GE(usable_cpus(), 1U);
  EXPECT_GT(process_facts(::getpid()).resident, 0U);
  EXPECT_EQ(process_facts(0x7fff'fff0).resident, 0U);
}

// --- metrics

TEST(Metrics, TextFormat) {
  MetricsText t;
  t.family("a_total", "Things.", "counter");
  t.sample("a_total", {{"x", "q\"\\\n"}, {"y", "2"}}, 3);
  EXPECT_EQ(t.text(),
            "# HELP a_total Things.\n# TYPE a_total counter\na_total{x=\"q\\\"\\\\ \",y=\"2\"} 3\n");
}

TEST(Metrics, Http) {
  const auto text = [] { return std::string("m 1\n"); };
  EXPECT_THAT(http_answer("GET /metrics HTTP/1.1", text), StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(http_answer("GET /metrics HTTP/1.1", text), testing::EndsWith("\r\n\r\nm 1\n"));
  EXPECT_THAT(http_answer("HEAD /metrics HTTP/1.1", text), testing::EndsWith("\r\n\r\n"));
  EXPECT_THAT(http_answer("GET /../etc/passwd HTTP/1.1", text), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(http_answer("POST /metrics HTTP/1.1", text), StartsWith("HTTP/1.1 405"));
  EXPECT_THAT(http_answer("", text), StartsWith("HTTP/1.1 405"));
}

}  // namespace
}  // namespace hpcvmm::daemon
