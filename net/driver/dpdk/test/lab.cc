#include "net/driver/dpdk/test/lab.hh"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <sstream>

extern char** environ;  // NOLINT(readability-redundant-declaration)

namespace hpcvmm::net::dpdk::lab {
namespace {

constexpr const char* kPrefix = "hpcvmm-t";
constexpr int kPatienceMs = 30'000;

std::string space_name(pid_t pid, unsigned side) {
  return kPrefix + std::to_string(pid) + "-" + std::to_string(side);
}

void remove_leftovers() {
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator("/run/netns", none)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(kPrefix)) continue;
    const pid_t owner = std::atoi(name.c_str() + std::string(kPrefix).size());
    if (owner > 0 && ::kill(owner, 0) != 0) shell("ip netns del " + name);
  }
}

}  // namespace

int shell(const std::string& command) {
  const int status =
      ::system(command.c_str());  // NOLINT(cert-env33-c, concurrency-mt-unsafe): set-up of a test
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

Wire::Wire(unsigned mtu, bool with_addresses) {
  remove_leftovers();
  for (unsigned side = 0; side < 2; ++side) EXPECT_EQ(shell("ip netns add " + name(side)), 0) << "needs root";
  EXPECT_EQ(shell("ip link add wire netns " + name(0) + " type veth peer name wire netns " + name(1)), 0);
  for (unsigned side = 0; side < 2; ++side) {
    const std::string in = "ip -n " + name(side) + " ";
    EXPECT_EQ(shell(in + "link set lo up && " + in + "link set wire mtu " + std::to_string(mtu) + " up"), 0);
    const std::string add = in + "addr add 10.77.0." + std::to_string(side + 1) + "/24 dev wire";
    EXPECT_EQ(shell(with_addresses ? add : "true"), 0);
  }
}

Wire::~Wire() {
  for (unsigned side = 0; side < 2; ++side) shell("ip netns del " + name(side));
}

std::string Wire::name(unsigned side) const { return space_name(::getpid(), side); }

Folder::Folder() {
  char path[] = "/tmp/hpcvmm-lab-XXXXXX";
  EXPECT_NE(::mkdtemp(path), nullptr);
  path_ = path;
}
Folder::~Folder() { std::filesystem::remove_all(path_); }

Peer::Peer(const std::string& space, const std::vector<std::string>& args) {
  start(space, args);
  ready_ = pid_ > 0 && read_line() == "ready";
  EXPECT_TRUE(ready_) << "the peer does not start";
}

void Peer::start(const std::string& space, const std::vector<std::string>& args) {
  std::vector<std::string> words;
  if (!space.empty()) words = {"ip", "netns", "exec", space};
  words.emplace_back(HPCVMM_DPDK_TEST_PEER);
  words.insert(words.end(), args.begin(), args.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  std::array<int, 2> in{};
  std::array<int, 2> out{};
  ASSERT_EQ(::pipe2(in.data(), O_CLOEXEC), 0);
  ASSERT_EQ(::pipe2(out.data(), O_CLOEXEC), 0);
  const UniqueFd in_end(in[0]);
  in_ = UniqueFd(in[1]);
  const UniqueFd out_end(out[1]);
  out_ = UniqueFd(out[0]);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
  const int rc = ::posix_spawnp(&pid_, argv[0], &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ASSERT_EQ(rc, 0);
}

Peer::Peer(Peer&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      in_(std::move(other.in_)),
      out_(std::move(other.out_)),
      buffer_(std::move(other.buffer_)),
      ready_(other.ready_) {}

Peer& Peer::operator=(Peer&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(in_, other.in_);
  std::swap(out_, other.out_);
  std::swap(buffer_, other.buffer_);
  std::swap(ready_, other.ready_);
  return *this;
}

Peer::~Peer() { kill(); }

std::string Peer::read_line() {
  for (;;) {
    if (const std::size_t end = buffer_.find('\n'); end != std::string::npos) {
      const std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return line;
    }
    pollfd poll{.fd = out_.get(), .events = POLLIN, .revents = 0};
    if (::poll(&poll, 1, kPatienceMs) != 1) {
      ADD_FAILURE() << "a peer says nothing for 30 s";
      return "";
    }
    std::array<char, 4096> piece{};
    const ssize_t n = ::read(out_.get(), piece.data(), piece.size());
    if (n <= 0) return "";
    buffer_.append(piece.data(), static_cast<std::size_t>(n));
  }
}

void Peer::signal(int number) const { ::kill(pid_, number); }

int Peer::reap() {
  int status = -1;
  if (pid_ > 0) ::waitpid(pid_, &status, 0);
  pid_ = -1;
  return status;
}

void Peer::kill() {
  if (pid_ <= 0) return;
  signal(SIGKILL);
  reap();
}

std::map<std::string, std::uint64_t> Peer::wait() {
  std::map<std::string, std::uint64_t> values;
  for (std::string line = read_line(); !line.empty(); line = read_line()) {
    std::istringstream words(line);
    std::string name;
    std::uint64_t value = 0;
    words >> name >> value;
    values[name] = value;
  }
  const int status = reap();
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "a peer ended with status " << status;
  return values;
}

std::map<std::string, std::uint64_t> Peer::finish() {
  in_ = UniqueFd();
  return wait();
}

}  // namespace hpcvmm::net::dpdk::lab
