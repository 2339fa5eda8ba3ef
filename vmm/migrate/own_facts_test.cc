#include "vmm/migrate/own_facts.hh"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <span>

#include "vmm/migrate/host.hh"

namespace hpcvmm::migrate {
namespace {

namespace local = wire::local;

int g_hidden = -1;

class OwnFacts : public testing::Test {
 protected:
  void SetUp() override {
    HostHooks hooks;
    hooks.hide_fd = [](int fd, int* owner) {
      if (owner != nullptr) *owner = fd;
      return fd;
    };
    hooks.close_fd = [](int fd) { ::close(fd); };
    hooks.is_hidden = [](int fd) { return fd == g_hidden; };
    set_host_hooks(hooks);
    forget_own_facts();
    keep_own_facts();
  }
};

std::uint64_t inode(int fd) {
  struct stat s {};
  EXPECT_EQ(::fstat(fd, &s), 0);
  return s.st_ino;
}

TEST_F(OwnFacts, PipesSocketsAndFilesAreListedOnce) {
  std::array<int, 2> pipe{}, sockets{};
  ASSERT_EQ(::pipe(pipe.data()), 0);
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, sockets.data()), 0);
  const int file = ::open("/proc/self/exe", O_RDONLY);
  ASSERT_GE(file, 0);
  local::Held before{};
  g_hidden = file;
  list_held(before);
  g_hidden = -1;
  local::Held held{};
  list_held(held);
  const std::span ends(held.ends, held.count);
  EXPECT_EQ(std::count(ends.begin(), ends.end(), inode(pipe[0])), 1) << "both ends are one pipe";
  EXPECT_EQ(std::count(ends.begin(), ends.end(), inode(sockets[0])), 1);
  EXPECT_EQ(std::count(ends.begin(), ends.end(), inode(sockets[1])), 1);
  EXPECT_EQ(held.files, before.files + 1) << "a descriptor of the VMM's own is none of the guest's";
  for (const int fd : {pipe[0], pipe[1], sockets[0], sockets[1], file}) ::close(fd);
  local::Held after{};
  list_held(after);
  EXPECT_EQ(after.count, held.count - 3);
}

TEST_F(OwnFacts, NoMoreDescriptorsAreLookedAtThanAreTold) {
  std::array<int, local::kMostHeld + 40> fds{};
  for (std::size_t i = 0; i < fds.size(); i += 2) ASSERT_EQ(::pipe(&fds[i]), 0);
  local::Held held{};
  list_held(held);
  EXPECT_LE(held.count, local::kMostHeld);
  EXPECT_GE(held.count, local::kMostHeld / 4);
  for (const int fd : fds) ::close(fd);
}

TEST_F(OwnFacts, IoGrowsByWhatIsWritten) {
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe(pipe.data()), 0);
  const OwnIo before = own_io();
  ASSERT_EQ(::write(pipe[1], "0123456789", 10), 10);
  const OwnIo after = own_io();
  EXPECT_GE(after.bytes, before.bytes + 10);
  EXPECT_GE(after.calls, before.calls + 1);
  for (const int fd : pipe) ::close(fd);
}

TEST(OwnFactsText, OddLinesAndLinksSayNothing) {
  EXPECT_EQ(parse_io("rchar: 5\nwchar: 7\nsyscr: 2\nsyscw: 3\nread_bytes: 99\n").bytes, 12U);
  EXPECT_EQ(parse_io("rchar: 5\nwchar: 7\nsyscr: 2\nsyscw: 3").calls, 5U);
  EXPECT_EQ(parse_io("").bytes, 0U);
  EXPECT_EQ(parse_io("rchar:\n: 5\nwchar: x\n").bytes, 0U);
  EXPECT_EQ(inode_in("pipe:[12]"), 12U);
  EXPECT_EQ(inode_in("socket:[13]"), 13U);
  EXPECT_EQ(inode_in("pipe:12"), 0U);
  EXPECT_EQ(inode_in("/tmp/pipe:[12]"), 0U);
  EXPECT_EQ(inode_in("anon_inode:[eventpoll]"), 0U);
}

}  // namespace
}  // namespace hpcvmm::migrate
