// Goal: what a VMM process is promised by hpcd holds between real nodes: real namespaces, real hpcds, real
// rings; only the VMM processes are stand-ins (VmmClient, hpcd_test_remote).
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <random>
#include <thread>

#include "daemon/test/local_cluster.hh"

namespace hpcvmm::daemon::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;
namespace local = wire::local;

class ClusterTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    cluster_ = new LocalCluster;
    const Ran r = cluster_->up("--nodes 3 --driver udp --memory 2G --cpus 1 --json");
    ASSERT_EQ(r.status, 0) << r.out;
  }
  static void TearDownTestSuite() {
    EXPECT_EQ(cluster_->down().status, 0);
    EXPECT_THAT(cluster_->leftovers(), testing::IsEmpty());
    delete cluster_;
  }
  void TearDown() override {
    EXPECT_TRUE(eventually([] { return cluster_->remotes().empty(); })) << "a remote is left";
  }
  static LocalCluster& cluster() { return *cluster_; }
  static LocalCluster* cluster_;
};
LocalCluster* ClusterTest::cluster_ = nullptr;

TEST_F(ClusterTest, NodesSeeEachOther) {
  const Ran r = run(cluster().verb("nodes --json"));
  ASSERT_EQ(r.status, 0) << r.out;
  const json nodes = json::parse(r.out).at("nodes");
  ASSERT_EQ(nodes.size(), 3U);
  for (const json& n : nodes) {
    EXPECT_EQ(n.at("state"), "up");
    EXPECT_EQ(n.at("cpus"), 1);
    EXPECT_EQ(n.at("memory_total"), 2ULL << 30);
  }
  EXPECT_THAT(run(cluster().verb("nodes")).out, HasSubstr("ADDRESS"));
}

TEST_F(ClusterTest, RegisteredProcessIsInPsOfEveryNode) {
  auto deputy = cluster().deputy(2, "crunch");
  ASSERT_NE(deputy, nullptr);
  local::State state;
  state.migrations = 4;
  state.remote_pages = 1024;
  std::strcpy(state.cantmove, "shared memory mapping");
  ASSERT_TRUE(deputy->send(state));
  json mine;
  EXPECT_TRUE(eventually([&] {
    const json ps = json::parse(run(cluster().verb("ps --json")).out);
    for (const json& p : ps.at("processes"))
      if (p.at("pid") == ::getpid() && p.at("migrations") == 4) mine = p;
    return !mine.is_null();
  }));
  EXPECT_EQ(mine.at("home"), 2);
  EXPECT_EQ(mine.at("where"), 2);
  EXPECT_EQ(mine.at("comm"), "crunch");
  EXPECT_EQ(mine.at("cantmove"), "shared memory mapping");
  EXPECT_EQ(mine.at("user"), "root");
  EXPECT_GT(mine.at("memory"), 4U << 20);
  EXPECT_THAT(run(cluster().verb("ps -v")).out, HasSubstr("shared memory mapping"));
}

// Echo on both lanes, all sizes; what comes back is what was sent, in order.
void echo(VmmClient& deputy, std::uint32_t channel, unsigned records, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::vector<std::byte>> sent[2];
  std::size_t got[2] = {0, 0};
  std::size_t under_way = 0;
  unsigned made = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(40);
  while (got[0] + got[1] < records) {
    ASSERT_LT(std::chrono::steady_clock::now(), end)
        << "seed " << seed << ": " << got[0] + got[1] << " of " << records;
    while (made < records && under_way < 1U << 20) {
      const bool urgent = random() % 4 == 0;
      const std::size_t size = random() % 3 == 0 ? random() % 100 : random() % local::kMaxRecord;
      std::vector<std::byte> payload(size, static_cast<std::byte>('A' + made % 26));
      ASSERT_TRUE(deputy.put(urgent, channel, payload));
      under_way += size;
      sent[urgent ? 0 : 1].push_back(std::move(payload));
      ++made;
    }
    bool worked = false;
    for (const bool urgent : {true, false}) {
      std::uint32_t from = 0;
      std::vector<std::byte> payload;
      while (deputy.get(urgent, from, payload)) {
        const std::size_t lane = urgent ? 0 : 1;
        ASSERT_EQ(from, channel);
        ASSERT_LT(got[lane], sent[lane].size());
        ASSERT_EQ(payload, sent[lane][got[lane]])
            << "seed " << seed << " lane " << lane << " record " << got[lane];
        under_way -= payload.size();
        ++got[lane];
        worked = true;
      }
    }
    if (!worked) deputy.wait(10);
  }
}

TEST_F(ClusterTest, EchoThroughARemote) {
  auto deputy = cluster().deputy(1);
  ASSERT_NE(deputy, nullptr);
  ASSERT_EQ(open_channel(*deputy, 1, 2), 0);
  EXPECT_EQ(cluster().remotes().size(), 1U);
  echo(*deputy, 1, 2000, std::random_device{}());
  EXPECT_TRUE(eventually([] { return cluster().node(2).value("guests", 0) == 1; }));
  local::Close close;
  close.channel = 1;
  ASSERT_TRUE(deputy->send(close));
  EXPECT_TRUE(eventually([] { return cluster().remotes().empty(); }))
      << "closed in order, so it ends by itself";
}

TEST_F(ClusterTest, EchoOverALossyNetwork) {
  for (unsigned n = 1; n <= 3; ++n)
    ASSERT_EQ(
        cluster().ask(n, {{"op", "faults"}, {"spec", "loss=1%,reorder=1%,dup=1%,seed=5"}}).value("ok", false),
        true);
  auto deputy = cluster().deputy(1);
  ASSERT_NE(deputy, nullptr);
  ASSERT_EQ(open_channel(*deputy, 9, 3), 0);
  echo(*deputy, 9, 500, std::random_device{}());
  for (unsigned n = 1; n <= 3; ++n) cluster().ask(n, {{"op", "faults"}, {"spec", ""}});
  const json wrong = cluster().ask(1, {{"op", "faults"}, {"spec", "loss=lots"}});
  EXPECT_EQ(wrong.value("ok", true), false);
  EXPECT_THAT(wrong.value("error", ""), HasSubstr("loss"));
}

TEST_F(ClusterTest, TwoChannelsAtOnce) {
  auto deputy = cluster().deputy(1);
  ASSERT_NE(deputy, nullptr);
  ASSERT_EQ(open_channel(*deputy, 1, 2), 0);
  ASSERT_EQ(open_channel(*deputy, 65535, 3), 0);
  echo(*deputy, 1, 100, 1);
  echo(*deputy, 65535, 100, 2);
}

TEST_F(ClusterTest, RemoteHasNoRights) {
  auto deputy = cluster().deputy(1);
  ASSERT_NE(deputy, nullptr);
  ASSERT_EQ(open_channel(*deputy, 1, 2), 0);
  ASSERT_TRUE(deputy->put(true, 1, record("!who")));
  const std::string who = next_record(*deputy);
  EXPECT_THAT(who, HasSubstr("uid=65534 gid=65534"));
  EXPECT_THAT(who, HasSubstr("ppid=" + std::to_string(cluster().hpcd(2))));
  EXPECT_THAT(who, HasSubstr("nnp=1 pdeathsig=9"));
  EXPECT_THAT(who, HasSubstr("CapEff=0000000000000000"));
  EXPECT_THAT(who, HasSubstr("CapPrm=0000000000000000"));
  EXPECT_THAT(who, HasSubstr("env=PATH=/usr/local/bin:/usr/bin:/bin,LC_ALL=C,"));
  // 0, 1, 2, the socket, /dev/kvm and /dev/userfaultfd where the host has them; then what it opened itself:
  // three of Attach, one /proc/self/status.
  const std::string fds =
      who.substr(who.find("fds=") + 4, who.find(' ', who.find("fds=")) - who.find("fds=") - 4);
  EXPECT_THAT(fds, testing::StartsWith("0,1,2,3,"));
  EXPECT_LE(std::count(fds.begin(), fds.end(), ','), 9) << fds;
}

TEST_F(ClusterTest, RecordsOfAnEndingRemoteArriveBeforeClosed) {
  auto deputy = cluster().deputy(1);
  ASSERT_NE(deputy, nullptr);
  ASSERT_EQ(open_channel(*deputy, 1, 2), 0);
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(deputy->put(false, 1, record("last words " + std::to_string(i))));
  ASSERT_TRUE(deputy->put(false, 1, record("!exit 7")));
  EXPECT_THAT(wait_closed(*deputy, 1), HasSubstr("ended with status 7"));
  for (int i = 0; i < 100; ++i) ASSERT_EQ(next_record(*deputy, 0), "last words " + std::to_string(i));
}

TEST_F(ClusterTest, OpenIsRefusedWithAReason) {
  auto deputy = cluster().deputy(1);
  ASSERT_NE(deputy, nullptr);
  std::string why;
  EXPECT_EQ(open_channel(*deputy, 1, 9, &why), EHOSTDOWN);
  EXPECT_THAT(why, HasSubstr("there is no node 9"));
  EXPECT_EQ(open_channel(*deputy, 1, 1, &why), EINVAL);
  EXPECT_EQ(open_channel(*deputy, 1, 2, &why, 1ULL << 50), ENOMEM);
  EXPECT_THAT(why, HasSubstr("memory is short there"));
  EXPECT_EQ(open_channel(*deputy, 1, 2, &why, 3ULL << 30), ENOMEM) << "more than the node offers";
  ASSERT_EQ(open_channel(*deputy, 1, 2), 0);
  EXPECT_EQ(open_channel(*deputy, 1, 3, &why), EEXIST);
  EXPECT_EQ(open_channel(*deputy, 2, 2, &why, 2000ULL << 20), 0);
  EXPECT_EQ(open_channel(*deputy, 3, 2, &why, 100ULL << 20), ENOMEM) << "promised to the other one";
}

TEST_F(ClusterTest, DrainingNodeTakesNobody) {
  ASSERT_EQ(cluster().ask(3, {{"op", "drain"}}).value("ok", false), true);
  EXPECT_TRUE(eventually([] { return cluster().node(3).value("state", "") == "draining"; }));
  auto deputy = cluster().deputy(1);
  ASSERT_NE(deputy, nullptr);
  std::string why;
  EXPECT_EQ(open_channel(*deputy, 1, 3, &why), EHOSTDOWN);
  EXPECT_THAT(why, HasSubstr("drained"));
  ASSERT_EQ(cluster().ask(3, {{"op", "resume"}}).value("ok", false), true);
  EXPECT_TRUE(eventually([] { return cluster().node(3).value("state", "") == "up"; }));
}

TEST_F(ClusterTest, NonsenseEndsTheConnection) {
  const auto ends = [](const auto& message, bool first) {
    auto fd = VmmClient::connect(cluster().node_dir(1));
    if (!fd) return false;
    VmmClient c(*std::move(fd));
    if (!first) c.register_as(local::Role::Deputy);
    c.send(message);
    return eventually([&] { return c.receive(100), c.ended(); });
  };
  EXPECT_TRUE(ends(local::State{}, true)) << "not Register";
  EXPECT_TRUE(ends(local::Welcome{}, false)) << "a type of hpcd's";
  EXPECT_TRUE(ends(std::uint64_t{~0ULL}, false));
  local::Register remote;
  remote.role = local::Role::Remote;
  EXPECT_TRUE(ends(remote, true)) << "only hpcd makes remotes";
  local::Header adopt{local::Type::Adopt, local::kVersion, sizeof adopt};
  EXPECT_TRUE(ends(adopt, false)) << "without its descriptor";
}

TEST_F(ClusterTest, AdoptedChildRegistersItself) {
  auto deputy = cluster().deputy(1);
  ASSERT_NE(deputy, nullptr);
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
  local::Header adopt{local::Type::Adopt, local::kVersion, sizeof adopt};
  ASSERT_TRUE(deputy->send(adopt, pair[1]));
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(pair[1]);
    VmmClient c{UniqueFd(pair[0])};
    c.register_as(local::Role::Deputy, "child");
    const bool welcome = c.wait_for(local::Type::Welcome, 5000).has_value();
    ::pause();
    ::_exit(welcome ? 0 : 1);
  }
  ::close(pair[0]);
  ::close(pair[1]);
  const auto known = [child] {
    const json answer = cluster().ask(1, {{"op", "find"}, {"pid", child}});
    return answer.value("found", false);
  };
  EXPECT_TRUE(eventually(known));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(eventually([&] { return !known(); }));
}

TEST_F(ClusterTest, RegisterAnewAfterExecKeepsCountersAndPlace) {
  auto first = cluster().deputy(1);
  ASSERT_NE(first, nullptr);
  ASSERT_EQ(open_channel(*first, 1, 2), 0);
  local::State state;
  state.where = 2;
  state.migrations = 3;
  ASSERT_TRUE(first->send(state));
  local::Register again;
  again.pid = ::getpid();
  again.keeps = 1;
  ASSERT_TRUE(first->send(again));
  const auto welcome = first->wait_for(local::Type::Welcome, 5000);
  ASSERT_TRUE(welcome);
  EXPECT_EQ(welcome->as<local::Welcome>().start_on, 2U) << "it starts where it was";
  EXPECT_TRUE(eventually([] { return cluster().remotes().empty(); })) << "the old image's channels are gone";
  const json ps = cluster().ask(1, {{"op", "ps"}}).at("processes");
  ASSERT_EQ(ps.size(), 1U);
  EXPECT_EQ(ps[0].at("migrations"), 3);
  // The same over a new connection.
  auto fd = VmmClient::connect(cluster().node_dir(1));
  ASSERT_TRUE(fd);
  VmmClient second(*std::move(fd));
  ASSERT_TRUE(second.send(again));
  EXPECT_TRUE(second.wait_for(local::Type::Welcome, 5000));
  EXPECT_TRUE(eventually([&] { return first->receive(100), first->ended(); }));
  ASSERT_EQ(open_channel(second, 1, 3), 0);
  echo(second, 1, 20, 3);
}

// --- moving

/// Answers the next Move as a deputy would.
std::thread answer_move(VmmClient& deputy, int code, const char* why = "") {
  return std::thread([&deputy, code, why] {
    const auto m = deputy.wait_for(local::Type::Move, 10'000);
    if (!m) return;
    const auto move = m->as<local::Move>();
    ::usleep(250'000);  // long enough for progress
    local::MoveDone done;
    done.request = move.request;
    done.code = code;
    done.where = code == 0 ? move.node : 1;
    done.figures.downtime_us = 1234;
    done.figures.total_us = 56'700;
    done.figures.pages_pushed = 10;
    done.figures.pages_zero = 5;
    done.figures.bytes = 99;
    std::strcpy(done.why, why);
    deputy.send(done);
  });
}

TEST_F(ClusterTest, MigrateReportsWhatTheDeputySays) {
  for (const unsigned home : {1U, 2U}) {  // asked at node 1, found wherever it is
    auto deputy = cluster().deputy(home);
    ASSERT_NE(deputy, nullptr);
    std::thread t = answer_move(*deputy, 0);
    const Ran r = run(cluster().verb("migrate " + std::to_string(::getpid()) + " 3 --mode postcopy --json"));
    t.join();
    ASSERT_EQ(r.status, 0) << r.out;
    const json j = json::parse(r.out);
    EXPECT_EQ(j.at("where"), 3);
    EXPECT_EQ(j.at("downtime_us"), 1234);
    EXPECT_EQ(j.at("total_ms"), 56.7);
    EXPECT_EQ(j.at("pages"), 15);
    EXPECT_EQ(j.at("bytes"), 99);
    deputy.reset();
    EXPECT_TRUE(eventually([home] {
      return cluster().ask(home, {{"op", "find"}, {"pid", ::getpid()}}).value("found", true) == false;
    }));
  }
}

TEST_F(ClusterTest, MigrateFailsWithTheReason) {
  auto deputy = cluster().deputy(1);
  ASSERT_NE(deputy, nullptr);
  const std::string pid = std::to_string(::getpid());
  std::thread t = answer_move(*deputy, EPERM, "shared memory mapping");
  Ran r = run(cluster().verb("migrate " + pid + " 2"));
  t.join();
  EXPECT_EQ(r.status, 1);
  EXPECT_THAT(r.out, HasSubstr("shared memory mapping"));
  EXPECT_THAT((r = run(cluster().verb("migrate " + pid + " 7"))).out, HasSubstr("there is no node 7"));
  EXPECT_EQ(r.status, 1);
  EXPECT_THAT((r = run(cluster().verb("migrate 999999 2"))).out, HasSubstr("there is no process 999999"));
  EXPECT_EQ(r.status, 1);
  EXPECT_THAT((r = run(cluster().verb("migrate 1 2"))).out, HasSubstr("not managed by hpc-vmm"));
  EXPECT_EQ(r.status, 1);
  EXPECT_THAT(run(cluster().verb("migrate x 2")).out, HasSubstr("not a process number"));
  local::State state;
  std::strcpy(state.cantmove, "io_uring");
  ASSERT_TRUE(deputy->send(state));
  EXPECT_TRUE(
      eventually([&] { return run(cluster().verb("ps -v")).out.find("io_uring") != std::string::npos; }));
  // The reason of the last time does not stick: only the deputy knows whether it still holds.
  std::thread again = answer_move(*deputy, EPERM, "io_uring is busy");
  EXPECT_THAT(run(cluster().verb("migrate " + pid + " 2")).out, HasSubstr("was not moved: io_uring is busy"));
  again.join();
  std::thread done = answer_move(*deputy, 0, "");
  EXPECT_EQ(run(cluster().verb("migrate " + pid + " 2")).status, 0);
  done.join();
  // Other users see everything, and move nothing of ours.
  json refused = cluster().ask(1, {{"op", "migrate"}, {"pid", ::getpid()}, {"to", 2}}, 65534);
  EXPECT_EQ(refused.value("code", ""), "EPERM");
  for (const char* op : {"drain", "resume", "shutdown", "evict"})
    EXPECT_EQ(cluster().ask(1, {{"op", op}, {"pid", 1}}, 65534).value("code", ""), "EPERM") << op;
  EXPECT_EQ(cluster().ask(1, {{"op", "ps"}}, 65534).value("ok", false), true);
}

TEST_F(ClusterTest, DeputyThatDiesWhileMovingEndsTheRequest) {
  const pid_t child = ::fork();
  if (child == 0) {
    auto deputy = cluster().deputy(2);
    if (deputy) deputy->wait_for(local::Type::Move, 10'000);
    ::_exit(0);
  }
  EXPECT_TRUE(eventually([child] {
    return cluster().ask(2, {{"op", "find"}, {"pid", child}}).value("found", false);
  }));
  const Ran r = run(cluster().verb("migrate " + std::to_string(child) + " 3"));
  EXPECT_EQ(r.status, 1);
  EXPECT_THAT(r.out, HasSubstr("ended before it had moved"));
  ::waitpid(child, nullptr, 0);
}

TEST_F(ClusterTest, ApiRefusesNonsense) {
  EXPECT_THAT(cluster().ask(1, "this is no JSON").value("error", ""), HasSubstr("not a JSON object"));
  EXPECT_EQ(cluster().ask(1, {{"op", "nodes"}, {"x", 1}}).value("ok", true), false);
  EXPECT_TRUE(cluster().ask(1, json(std::string(100'000, 'x'))).is_null()) << "hung up";
  EXPECT_EQ(cluster().ask(1, {{"op", "nodes"}}).value("ok", false), true) << "and lives on";
}

TEST_F(ClusterTest, Metrics) {
  const Ran r =
      run("python3 -c \"import socket; s=socket.socket(socket.AF_UNIX); s.connect('" + cluster().node_dir(2) +
          "/metrics.sock'); s.send(b'GET /metrics HTTP/1.1\\r\\n\\r\\n'); "
          "print(''.join(iter(lambda: s.recv(65536).decode(), '')))\"");
  EXPECT_THAT(r.out, HasSubstr("HTTP/1.1 200 OK"));
  EXPECT_THAT(r.out, HasSubstr("hpcd_node 2\n"));
  EXPECT_THAT(r.out, HasSubstr("hpcd_peer_up{peer=\"1\"} 1\n"));
}

long cpu_ticks(pid_t pid) {
  FILE* const f = std::fopen(("/proc/" + std::to_string(pid) + "/stat").c_str(), "r");
  if (f == nullptr) return -1;
  long user = -1;
  long system = -1;
  if (std::fscanf(f, "%*d (hpcd) %*c %*d %*d %*d %*d %*d %*d %*d %*d %*d %*d %ld %ld", &user, &system) != 2)
    user = system = -1;
  std::fclose(f);
  return user + system;
}

TEST_F(ClusterTest, IdleNodeUsesLessThanOnePercentOfACore) {
  ::sleep(1);
  const long before = cpu_ticks(cluster().hpcd(2));
  ASSERT_GE(before, 0);
  ::sleep(4);
  const long used = cpu_ticks(cluster().hpcd(2)) - before;
  EXPECT_LE(used, 4) << "hundredths of a second, in four seconds";
}

}  // namespace
}  // namespace hpcvmm::daemon::test
