// Goal: whoever dies, at whatever step, the others are told, and nothing of it is left: no process,
// descriptor, namespace, group or file.  Each test has a cluster of its own where it kills an hpcd.
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "daemon/test/local_cluster.hh"

namespace hpcvmm::daemon::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;
namespace local = wire::local;

class FailureTest : public testing::Test {
 protected:
  void SetUp() override {
    const Ran r = cluster_.up();
    ASSERT_EQ(r.status, 0) << r.out;
  }
  void TearDown() override {
    deputy_.reset();
    EXPECT_EQ(cluster_.down().status, 0);
    EXPECT_THAT(cluster_.leftovers(), testing::IsEmpty());
  }
  /// A deputy at node 1, whose remote runs on node 2.
  void start_remote() {
    deputy_ = cluster_.deputy(1);
    ASSERT_NE(deputy_, nullptr);
    ASSERT_EQ(open_channel(*deputy_, 1, 2), 0);
    const auto remotes = cluster_.remotes();
    ASSERT_EQ(remotes.size(), 1U);
    remote_ = remotes[0];
  }
  std::size_t descriptors(unsigned node) {
    std::error_code ignored;
    const std::filesystem::directory_iterator all("/proc/" + std::to_string(cluster_.hpcd(node)) + "/fd",
                                                  ignored);
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
  }
  /// Runs `life` in a process of its own, with a deputy at that node.
  pid_t deputy_process(unsigned node, const std::function<void(VmmClient&)>& life) {
    const pid_t pid = ::fork();
    if (pid != 0) return pid;
    auto deputy = cluster_.deputy(node);
    if (deputy) life(*deputy);
    ::_exit(0);
  }
  LocalCluster cluster_;
  std::unique_ptr<VmmClient> deputy_;
  pid_t remote_ = 0;
};

TEST_F(FailureTest, KilledRemoteClosesTheChannel) {
  auto deputy = cluster_.deputy(1);
  ASSERT_NE(deputy, nullptr);
  ASSERT_EQ(open_channel(*deputy, 1, 2), 0);
  ASSERT_EQ(cluster_.remotes().size(), 1U);
  ::kill(cluster_.remotes()[0], SIGKILL);
  EXPECT_THAT(wait_closed(*deputy, 1, 3000), HasSubstr("ended by signal 9"));
  EXPECT_TRUE(eventually([&] { return cluster_.remotes().empty(); }));
  EXPECT_EQ(open_channel(*deputy, 1, 2), 0) << "the channel's number is free again";
}

TEST_F(FailureTest, KilledDeputyTakesItsRemotesAtEveryStep) {
  const std::size_t before1 = descriptors(1);
  // What node 2 knows of node 1's names stays, in memory of its own.
  const std::size_t before2 = descriptors(2) + 1;
  for (int step = 0; step < 12; ++step) {
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    const pid_t child = deputy_process(1, [&](VmmClient& d) {
      local::Open open;
      open.channel = 1;
      open.node = 2;
      d.send(open);
      if (step % 3 == 1) d.wait_for(local::Type::Opened, 5000);
      if (step % 3 == 2) {
        d.wait_for(local::Type::Opened, 5000);
        d.put(false, 1, std::vector<std::byte>(60'000));
        d.put(true, 1, record("!hang"));
      }
      ::write(pipe[1], "x", 1);
      ::pause();
    });
    char c = 0;
    ASSERT_EQ(::read(pipe[0], &c, 1), 1);
    ::usleep(static_cast<useconds_t>(step) * 500);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    ::close(pipe[0]);
    ::close(pipe[1]);
    EXPECT_TRUE(eventually([&] { return cluster_.remotes().empty(); }, 3000)) << "step " << step;
  }
  EXPECT_TRUE(eventually([&] { return descriptors(1) <= before1 && descriptors(2) <= before2; }))
      << descriptors(1) << " " << before1 << " " << descriptors(2) << " " << before2;
  EXPECT_TRUE(eventually([&] { return cluster_.node(2, 2).value("guests", 9) == 0; }));
}

TEST_F(FailureTest, KilledDestinationHpcd) {
  ASSERT_NO_FATAL_FAILURE(start_remote());
  ::kill(cluster_.hpcd(2), SIGKILL);
  EXPECT_THAT(wait_closed(*deputy_, 1, 5000), HasSubstr("node 2 is lost"));
  EXPECT_TRUE(eventually([&] { return ::kill(remote_, 0) != 0; })) << "the remote dies with its hpcd";
  EXPECT_TRUE(eventually([&] { return cluster_.node(2).value("state", "") == "down"; }));
  std::string why;
  EXPECT_EQ(open_channel(*deputy_, 1, 2, &why), EHOSTDOWN);
  EXPECT_THAT(why, HasSubstr("node 2 is down"));
  EXPECT_EQ(open_channel(*deputy_, 1, 3, &why), 0) << "the others go on";
}

TEST_F(FailureTest, KilledHomeHpcd) {
  ASSERT_NO_FATAL_FAILURE(start_remote());
  ::kill(cluster_.hpcd(1), SIGKILL);
  EXPECT_TRUE(eventually([&] { return deputy_->receive(100), deputy_->ended(); }));
  EXPECT_TRUE(eventually([&] { return ::kill(remote_, 0) != 0; })) << "nobody is there whom it runs for";
}

TEST_F(FailureTest, CutLinkClosesAtBothEnds) {
  auto deputy = cluster_.deputy(1);
  ASSERT_NE(deputy, nullptr);
  ASSERT_EQ(open_channel(*deputy, 1, 2), 0);
  ASSERT_EQ(cluster_.ask(2, {{"op", "faults"}, {"spec", "cut"}}).value("ok", false), true);
  EXPECT_THAT(wait_closed(*deputy, 1, 5000), HasSubstr("node 2 is lost"));
  EXPECT_TRUE(eventually([&] { return cluster_.remotes().empty(); })) << "the cut-off remote is ended, too";
  ASSERT_EQ(cluster_.ask(2, {{"op", "faults"}, {"spec", ""}}).value("ok", false), true);
  EXPECT_TRUE(eventually([&] { return cluster_.node(2).value("state", "") == "up"; }, 8000));
  EXPECT_EQ(open_channel(*deputy, 1, 2), 0);
}

TEST_F(FailureTest, BrokenRingsEndTheProcessOnly) {
  for (const bool urgent : {true, false}) {
    auto deputy = cluster_.deputy(1);
    ASSERT_NE(deputy, nullptr);
    ASSERT_EQ(open_channel(*deputy, 1, 2), 0);
    deputy->break_ring(urgent);
    EXPECT_TRUE(eventually([&] { return deputy->receive(100), deputy->ended(); }));
    EXPECT_TRUE(eventually([&] { return cluster_.remotes().empty(); }));
  }
  EXPECT_NE(cluster_.deputy(1), nullptr) << "hpcd lives on";
}

TEST_F(FailureTest, ReceiverThatDoesNotReadIsCutOffNotHeldInMemory) {
  auto deputy = cluster_.deputy(1);
  ASSERT_NE(deputy, nullptr);
  ASSERT_EQ(open_channel(*deputy, 1, 2), 0);
  ASSERT_TRUE(deputy->put(true, 1, record("!hang")));
  const std::vector<std::byte> big(local::kMaxRecord);
  // Far beyond the window that VMM processes keep to.
  for (int i = 0; i < 400; ++i)
    if (!deputy->put(false, 1, big)) break;
  EXPECT_THAT(wait_closed(*deputy, 1, 5000), HasSubstr("window"));
  EXPECT_TRUE(eventually([&] { return cluster_.remotes().empty(); }));
}

TEST_F(FailureTest, OrderlyEndOfANodeAsksProcessesHome) {
  auto deputy = cluster_.deputy(1);
  ASSERT_NE(deputy, nullptr);
  ASSERT_EQ(open_channel(*deputy, 1, 2), 0);
  local::State away;
  away.where = 2;
  ASSERT_TRUE(deputy->send(away));
  ::kill(cluster_.hpcd(2), SIGTERM);
  const auto m = deputy->wait_for(local::Type::Move, 5000);
  ASSERT_TRUE(m) << "its home is told to take it back";
  const auto move = m->as<local::Move>();
  EXPECT_EQ(move.node, 1U);
  local::State home;
  ASSERT_TRUE(deputy->send(home));
  local::Close close;
  close.channel = 1;
  ASSERT_TRUE(deputy->send(close));
  local::MoveDone done;
  done.request = move.request;
  done.where = 1;
  ASSERT_TRUE(deputy->send(done));
  EXPECT_TRUE(eventually([&] { return ::kill(cluster_.hpcd(2), 0) != 0; }, 4000))
      << "it need not wait any longer";
  EXPECT_TRUE(eventually([&] { return cluster_.node(2).value("state", "") == "down"; }));
}

TEST(UpDown, TwiceAndWhileUp) {
  LocalCluster cluster;
  EXPECT_EQ(cluster.down().status, 0) << "nothing to do is fine";
  for (int i = 0; i < 2; ++i) {
    Ran r = cluster.up("--nodes 2 --driver udp --memory 256M,512M --cpus 0.5,1");
    ASSERT_EQ(r.status, 0) << r.out;
    r = cluster.up();
    EXPECT_EQ(r.status, 1);
    EXPECT_THAT(r.out, HasSubstr("remedy: hpc-vmm down --cluster " + cluster.name()));
    EXPECT_EQ(cluster.down().status, 0);
    EXPECT_THAT(cluster.leftovers(), testing::IsEmpty());
  }
  EXPECT_THAT(run(cluster.verb("nodes")).out, HasSubstr("no cluster is up"));
}

TEST(UpDown, CleansUpAfterACrashAndAfterFailure) {
  LocalCluster cluster;
  ASSERT_EQ(cluster.up("--nodes 2 --driver udp").status, 0);
  for (const unsigned n : {1U, 2U}) ::kill(cluster.hpcd(n), SIGKILL);
  Ran r = cluster.up("--nodes 2 --driver udp");
  EXPECT_EQ(r.status, 0) << "what a crash left is no cluster: " << r.out;
  EXPECT_EQ(cluster.down().status, 0);
  r = cluster.up("--nodes 2 --driver udp --faults loss=nonsense");
  EXPECT_EQ(r.status, 1);
  EXPECT_THAT(r.out, HasSubstr("nonsense"));
  EXPECT_THAT(cluster.leftovers(), testing::IsEmpty());
  EXPECT_EQ(run(cluster.verb("up --nodes 2 --cpus 1,2,3")).status, 1);
  EXPECT_EQ(run(cluster.verb("up --nodes 2 --memory 1X")).status, 1);
}

}  // namespace
}  // namespace hpcvmm::daemon::test
