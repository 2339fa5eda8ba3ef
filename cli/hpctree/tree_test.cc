// The file tree against answers as hpcd gives them (daemon/README.md).
#include "cli/hpctree/tree.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

namespace hpcvmm::hpctree {
namespace {

using nlohmann::json;
using testing::Contains;
using testing::ElementsAre;

constexpr Caller kRoot{0, 1};
constexpr Caller kOwner{1000, 4711};
constexpr Caller kStranger{1001, 99};

/// hpcd's side: what it would answer, and what it was asked to change.
struct Hpcd {
  json nodes = json::parse(R"({"ok":true,"self":1,"epoch":3,"driver":"udp","nodes":[
    {"id":1,"state":"up","address":"10.77.0.1:7200","cpus":2,"speed":1.0,"run_queue":3.0,"load":1.0,"paging":0.0,
     "memory_total":8589934592,"memory_free":4294967296,"guests":1,"orders":["stay","quiet"],"rtt_us":0},
    {"id":2,"state":"up","address":"10.77.0.2:7200","cpus":4,"speed":0.5,"run_queue":1.0,"paging":0.25,
     "memory_total":1000,"memory_free":400,"guests":0,"orders":[]},
    {"id":7,"state":"down","address":"10.77.0.7:7200","cpus":4,"orders":[]}]})");
  json ps = json::parse(R"({"ok":true,"lost":[],"processes":[
    {"pid":4711,"uid":1000,"home":1,"where":2,"migrations":3,"cantmove":"","locked":true,"home_only":false,"run_on":2,
     "kind":"cpu","decay":"slow","mask":{"mode":"deny","nodes":[1,3]},"memory":40960,"cpu_ms":1500,"comm":"sim"},
    {"pid":50,"uid":0,"home":2,"where":1,"migrations":1,"cantmove":"it has mapped a device","locked":false,
     "mask":{"mode":"none","nodes":[]},"memory":8192,"cpu_ms":10,"comm":"dd"},
    {"pid":50,"uid":0,"home":1,"where":1,"migrations":0,"cantmove":"","locked":false,"comm":"own"}]})");
  json ctl =
      json::parse(R"({"ok":true,"node":1,"settings":{"stay":true,"lstay":false,"block":false,"quiet":true,
    "expel":false,"bring":false,"speed":0,"policy":"mosix","decay_interval":60,"slow_decay":975,"fast_decay":926,
    "owner_active":"auto","hysteresis":0.2}})");
  json refusal;  // not null: the answer to changes
  std::vector<json> asked;
  bool waited = false;

  json operator()(const json& request, bool wait) {
    const std::string op = request["op"];
    if (op == "nodes") return nodes;
    if (op == "ps") return ps;
    if (op == "ctl" && !request.contains("set")) return ctl;
    asked.push_back(request);
    waited = wait;
    return refusal.is_null() ? json{{"ok", true}} : refusal;
  }
};

class TreeTest : public testing::Test {
 protected:
  Hpcd hpcd;
  Tree tree{[this](const json& r, bool wait) { return hpcd(r, wait); }, {"0.1", {}}};

  std::string text(const std::string& path, const Caller& who = kOwner) {
    std::string out;
    const int error = tree.read(path, who, out);
    return error == 0 ? out : "errno " + std::to_string(error);
  }
  json last() { return hpcd.asked.empty() ? json() : hpcd.asked.back(); }
};

TEST_F(TreeTest, Folders) {
  std::vector<std::string> names;
  EXPECT_EQ(tree.list("/", names), 0);
  EXPECT_THAT(names, ElementsAre("hpc", "pid"));
  names.clear();
  EXPECT_EQ(tree.list("/hpc/nodes", names), 0);
  EXPECT_THAT(names, ElementsAre("1", "2", "7"));
  names.clear();
  EXPECT_EQ(tree.list("/pid", names), 0);
  EXPECT_THAT(names, ElementsAre("50", "4711"));
  names.clear();
  EXPECT_EQ(tree.list("/pid/4711", names), 0);
  EXPECT_THAT(names, Contains("migpolicy"));
  EXPECT_EQ(tree.list("/pid/4712", names), ENOENT);
  EXPECT_EQ(tree.list("/hpc/admin/stay", names), ENOTDIR);
  EXPECT_EQ(tree.list("/nothing", names), ENOENT);
}

TEST_F(TreeTest, WhatIsThere) {
  EXPECT_EQ(tree.look("/hpc/admin").kind, Entry::Kind::Folder);
  EXPECT_EQ(tree.look("/hpc/admin/expel").mode, 0644U);
  EXPECT_EQ(tree.look("/hpc/admin/expel").owner, 0U);
  EXPECT_EQ(tree.look("/pid/4711/lock").owner, 1000U);
  EXPECT_EQ(tree.look("/pid/4711/where").mode, 0444U);
  for (const char* nothing :
       {"/hpc/admin/x", "/hpc/admin/stay/x", "/hpc/nodes/3", "/hpc/nodes/0", "/hpc/nodes/01", "/pid/-1",
        "/pid/4711/where/x", "/pid/99999999999", "/hpc/nodes/70000/load"})
    EXPECT_EQ(tree.look(nothing).kind, Entry::Kind::None) << nothing;
}

TEST_F(TreeTest, Nodes) {
  EXPECT_EQ(text("/hpc/nodes/1/CPUs"), "2\n");
  EXPECT_EQ(text("/hpc/nodes/1/load"), "150\n") << "three runnable threads on two reference CPUs";
  EXPECT_EQ(text("/hpc/nodes/2/load"), "50\n") << "one on four CPUs of half the speed";
  EXPECT_EQ(text("/hpc/nodes/2/speed"), "5000\n");
  EXPECT_EQ(text("/hpc/nodes/2/util"), "75\n");
  EXPECT_EQ(text("/hpc/nodes/1/mem"), "4294967296\n");
  EXPECT_EQ(text("/hpc/nodes/1/tmem"), "8589934592\n");
  EXPECT_EQ(text("/hpc/nodes/1/status"), "39\n") << "defined, up, stay, quiet";
  EXPECT_EQ(text("/hpc/nodes/7/cpus"), "-101\n");
  EXPECT_EQ(text("/hpc/nodes/7/status"), "1\n") << "bit 2 says up";
  EXPECT_EQ(text("/hpc/nodes/7/load"), "0\n");
}

TEST_F(TreeTest, Admin) {
  EXPECT_EQ(text("/hpc/admin/stay"), "1\n");
  EXPECT_EQ(text("/hpc/admin/block"), "0\n");
  EXPECT_EQ(text("/hpc/admin/mospe"), "1\n");
  EXPECT_EQ(text("/hpc/admin/speed"), "10000\n") << "0 is as measured";
  EXPECT_EQ(text("/hpc/admin/decay-interval"), "60\n");
  EXPECT_EQ(text("/hpc/admin/decayinterval"), "60\n");
  EXPECT_EQ(text("/hpc/admin/slow-decay"), "975\n");
  EXPECT_THAT(text("/hpc/admin/version"), testing::StartsWith("hpc-vmm 0.1\nDFSA"));
  EXPECT_THAT(text("/hpc/admin/overheads"), testing::HasSubstr("hysteresis 0.2\n"));

  EXPECT_EQ(tree.write("/hpc/admin/expel", "1\n", kRoot), 0);
  EXPECT_EQ(last(), json::parse(R"({"op":"ctl","set":{"expel":true},"wait":false})"));
  EXPECT_EQ(tree.write("/hpc/admin/speed", "20000", kRoot), 0);
  EXPECT_EQ(last()["set"]["speed"], 2.0);
  EXPECT_EQ(tree.write("/hpc/admin/decayinterval", "5", kRoot), 0);
  EXPECT_EQ(last()["set"]["decay_interval"], 5);
  EXPECT_EQ(tree.write("/hpc/admin/mospe", "0\n", kRoot), 0);
  EXPECT_EQ(last()["op"], "drain");
  EXPECT_EQ(tree.write("/hpc/admin/overheads", "hysteresis 0.3", kRoot), 0);
  EXPECT_EQ(last()["set"]["hysteresis"], 0.3);
  const std::size_t before = hpcd.asked.size();
  EXPECT_EQ(tree.write("/hpc/admin/expel", "1", kOwner), EPERM) << "root's alone";
  EXPECT_EQ(tree.write("/hpc/admin/expel", "2", kRoot), EINVAL);
  EXPECT_EQ(tree.write("/hpc/admin/expel", "", kRoot), EINVAL);
  EXPECT_EQ(tree.write("/hpc/admin/slow-decay", "1001", kRoot), EINVAL);
  EXPECT_EQ(tree.write("/hpc/admin/version", "1", kRoot), EACCES);
  EXPECT_EQ(tree.write("/hpc/admin", "1", kRoot), EISDIR);
  EXPECT_EQ(hpcd.asked.size(), before) << "nothing of that has reached hpcd";
}

TEST_F(TreeTest, Process) {
  EXPECT_EQ(text("/pid/4711/where"), "2\n");
  EXPECT_EQ(text("/pid/4711/home"), "1\n");
  EXPECT_EQ(text("/pid/4711/lock"), "1\n");
  EXPECT_EQ(text("/pid/4711/nmigs"), "3\n");
  EXPECT_EQ(text("/pid/4711/cantmove"), "");
  EXPECT_EQ(text("/pid/50/where"), "1\n");
  EXPECT_EQ(text("/pid/50/nmigs"), "0\n") << "this node's own process of that number, not node 2's";
  EXPECT_EQ(text("/pid/4711/migfilter"), "1\n");
  EXPECT_EQ(text("/pid/4711/mignodes"), "5\n") << "bits of 1 and 3";
  EXPECT_EQ(text("/pid/4711/migpolicy"), "0\n");
}

TEST_F(TreeTest, MoveAndLock) {
  EXPECT_EQ(tree.write("/pid/4711/lock", "0\n", kStranger), EPERM);
  EXPECT_TRUE(hpcd.asked.empty());
  EXPECT_EQ(tree.write("/pid/4711/lock", "0\n", kOwner), 0);
  EXPECT_EQ(last(), json::parse(R"({"op":"process","pid":4711,"home":1,"uid":1000,"set":{"locked":false}})"));
  EXPECT_EQ(tree.write("/pid/4711/goto", "3", kRoot), 0);
  EXPECT_EQ(last(), json::parse(R"({"op":"migrate","pid":4711,"home":1,"to":3})"));
  EXPECT_TRUE(hpcd.waited);
  EXPECT_EQ(tree.write("/pid/4711/goto", "0", kOwner), 0);
  EXPECT_EQ(last()["to"], "home");
  EXPECT_FALSE(hpcd.waited) << "who moves himself must not wait for it in the write";
  EXPECT_EQ(tree.write("/pid/4711/migrate", "balance", kRoot), 0);
  EXPECT_EQ(last()["to"], "balance");
  EXPECT_EQ(tree.write("/pid/4711/goto", "elsewhere", kRoot), EINVAL);
  hpcd.refusal = {{"ok", false}, {"code", "EHOSTDOWN"}, {"error", "node 3 is down"}};
  EXPECT_EQ(tree.write("/pid/4711/goto", "3", kRoot), EHOSTDOWN);
}

TEST_F(TreeTest, Mask) {
  EXPECT_EQ(tree.write("/pid/4711/mignodes", "6", kOwner), 0);
  EXPECT_EQ(last()["set"]["mask"], json::parse(R"({"mode":"deny","nodes":[2,3]})"));
  EXPECT_EQ(tree.write("/pid/4711/migpolicy", "1", kOwner), 0);
  EXPECT_EQ(last()["set"]["mask"], json::parse(R"({"mode":"allow","nodes":[1,3]})"));
  EXPECT_EQ(tree.write("/pid/4711/migfilter", "0", kOwner), 0);
  EXPECT_EQ(last()["set"]["mask"]["mode"], "none");
  // A policy that is said while the filter is off counts when it is switched on.
  const std::size_t before = hpcd.asked.size();
  EXPECT_EQ(tree.write("/pid/50/migpolicy", "1", kRoot), 0);
  EXPECT_EQ(hpcd.asked.size(), before);
  EXPECT_EQ(tree.write("/pid/50/mignodes", "5", kRoot), 0);
  EXPECT_EQ(hpcd.asked.size(), before);
  EXPECT_EQ(text("/pid/50/migpolicy"), "1\n");
  EXPECT_EQ(text("/pid/50/mignodes"), "5\n");
  EXPECT_EQ(tree.write("/pid/50/migfilter", "1", kRoot), 0);
  EXPECT_EQ(last()["set"]["mask"], json::parse(R"({"mode":"allow","nodes":[1,3]})"));
}

TEST_F(TreeTest, DecayIsTheCallersOwn) {
  EXPECT_EQ(text("/hpc/decay/cpujob"), "1\n");
  EXPECT_EQ(text("/hpc/decay/slow"), "1\n");
  EXPECT_EQ(text("/hpc/decay/fast"), "0\n");
  EXPECT_EQ(text("/hpc/decay/fast", kStranger), "errno " + std::to_string(ESRCH));
  EXPECT_EQ(tree.write("/hpc/decay/iojob", "1", kOwner), 0);
  EXPECT_EQ(last()["set"]["kind"], "io");
  EXPECT_EQ(tree.write("/hpc/decay/clear", "1", kOwner), 0);
  EXPECT_EQ(last(), json::parse(R"({"op":"process","pid":4711,"home":1,"uid":1000,"clear":true})"));
  EXPECT_EQ(tree.write("/hpc/decay/clear", "1", kStranger), ESRCH) << "no process of the cluster";
}

TEST_F(TreeTest, Remote) {
  EXPECT_EQ(text("/hpc/remote/from"), "2:50 2\n") << "the guest of node 1, the asked one";
  EXPECT_EQ(text("/hpc/remote/identity"), "2:50 0 dd\n");
  EXPECT_EQ(text("/hpc/remote/statm"), "2:50 2\n");
}

TEST_F(TreeTest, NobodyAnswers) {
  hpcd.nodes = hpcd.ps = hpcd.ctl = {{"ok", false}, {"error", "hpcd has gone"}};
  std::vector<std::string> names;
  EXPECT_EQ(tree.list("/hpc/nodes", names), EIO);
  EXPECT_EQ(text("/hpc/admin/stay"), "errno " + std::to_string(EIO));
  EXPECT_EQ(tree.look("/pid/4711").kind, Entry::Kind::None);
}

TEST(NodeBits, BothWays) {
  std::vector<unsigned> nodes;
  EXPECT_TRUE(read_node_bits("9223372036854775809", nodes));
  EXPECT_THAT(nodes, ElementsAre(1, 64));
  EXPECT_TRUE(read_node_bits("0", nodes));
  EXPECT_TRUE(nodes.empty());
  EXPECT_TRUE(read_node_bits("2,70-72", nodes));
  EXPECT_THAT(nodes, ElementsAre(2, 70, 71, 72));
  for (const char* bad : {"", "x", "99999999999999999999", "0,1", "5-3", "1-70000"})
    EXPECT_FALSE(read_node_bits(bad, nodes)) << bad;
  EXPECT_EQ(node_bits(json::parse("[1,3]")), "5");
  EXPECT_EQ(node_bits(json::parse("[1,70]")), "1,70");
  EXPECT_TRUE(read_node_bits(node_bits(json::parse("[70]")), nodes));
  EXPECT_THAT(nodes, ElementsAre(70));
}

}  // namespace
}  // namespace hpcvmm::hpctree
