#include "daemon/test/local_cluster.hh"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace hpcvmm::daemon::test {

namespace local = wire::local;
namespace fs = std::filesystem;
using nlohmann::json;

Ran run(const std::string& command) {
  Ran r;
  FILE* const pipe = ::popen((command + " 2>&1 </dev/null").c_str(), "r");
  std::array<char, 4096> buffer{};
  for (std::size_t n = 0; (n = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;)
    r.out.append(buffer.data(), n);
  const int status = ::pclose(pipe);
  r.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
  return r;
}

bool eventually(const std::function<bool()>& done, int timeout_ms) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  while (!done()) {
    if (std::chrono::steady_clock::now() > end) return false;
    ::usleep(5000);
  }
  return true;
}

LocalCluster::LocalCluster() {
  static int count = 0;
  // Letters only, of the process number: no other running test has it.
  name_ = "t" + std::to_string(::getpid() % 1'000'000) + static_cast<char>('a' + count++ % 26);
}

LocalCluster::~LocalCluster() { down(); }

std::string LocalCluster::verb(const std::string& words) const {
  return std::string("timeout -s KILL 60 ") + HPCVMM_EXECUTABLE + " " + words + " --cluster " + name_;
}

Ran LocalCluster::up(const std::string& options) {
  return run(verb("up --policy static " + options + " --remote " + HPCVMM_TEST_REMOTE));
}

Ran LocalCluster::down() { return run(verb("down")); }

json LocalCluster::ask(unsigned node, const json& request, uid_t as_user) {
  if (as_user != 0 && ::seteuid(as_user) != 0) return {};
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const std::string path = node_dir(node) + "/api.sock";
  sockaddr_un at{};
  at.sun_family = AF_UNIX;
  path.copy(at.sun_path, sizeof at.sun_path - 1);
  const bool connected = ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at) == 0;
  if (as_user != 0 && ::seteuid(0) != 0) return {};
  if (!connected) return {};
  const std::string text = request.is_string() ? request.get<std::string>() + "\n" : request.dump() + "\n";
  if (::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL) < 0) return {};
  std::string input;
  std::array<char, 65536> buffer{};
  for (;;) {
    pollfd p{fd.get(), POLLIN, 0};
    if (::poll(&p, 1, 20'000) <= 0) return {};
    const ssize_t n = ::recv(fd.get(), buffer.data(), buffer.size(), 0);
    if (n <= 0) return {};
    input.append(buffer.data(), static_cast<std::size_t>(n));
    for (std::size_t end = 0; (end = input.find('\n')) != std::string::npos; input.erase(0, end + 1)) {
      const json j = json::parse(input.substr(0, end), nullptr, false);
      if (j.is_object() && j.contains("ok")) return j;
    }
  }
}

json LocalCluster::node(unsigned id, unsigned asked) {
  const json answer = ask(asked, {{"op", "nodes"}});
  if (answer.is_object())
    for (const json& n : answer.value("nodes", json::array()))
      if (n.value("id", 0U) == id) return n;
  return json::object();
}

pid_t LocalCluster::hpcd(unsigned node) const {
  std::ifstream in(node_dir(node) + "/hpcd.pid");
  pid_t pid = 0;
  in >> pid;
  return pid;
}

namespace {
std::string command_line(const std::string& pid) {
  std::ifstream in("/proc/" + pid + "/cmdline", std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(in)), {});
  for (char& c : text)
    if (c == 0) c = ' ';
  return text;
}

pid_t parent_of(pid_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
  std::string text((std::istreambuf_iterator<char>(in)), {});
  const std::size_t bracket = text.rfind(')');
  if (bracket == std::string::npos) return 0;
  std::istringstream words(text.substr(bracket + 2));
  std::string state;
  pid_t parent = 0;
  words >> state >> parent;
  return parent;
}

std::vector<pid_t> processes() {
  std::vector<pid_t> out;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") == std::string::npos) out.push_back(std::stoi(name));
  }
  return out;
}
}  // namespace

std::vector<pid_t> LocalCluster::remotes() const {
  std::vector<pid_t> daemons;
  for (unsigned n = 1; n <= 8; ++n)
    if (const pid_t pid = hpcd(n); pid != 0) daemons.push_back(pid);
  std::vector<pid_t> out;
  for (const pid_t pid : processes())
    if (std::find(daemons.begin(), daemons.end(), parent_of(pid)) != daemons.end()) out.push_back(pid);
  return out;
}

std::vector<std::string> LocalCluster::leftovers() const {
  std::vector<std::string> out;
  std::error_code ignored;
  if (fs::exists(run_dir(), ignored)) out.push_back(run_dir());
  for (const char* folder : {"/run/netns", "/sys/fs/cgroup", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/memory",
                             "/dev/shm", "/var/run/dpdk"})
    for (const auto& entry : fs::directory_iterator(folder, ignored))
      if (entry.path().filename().string().find("-" + name_ + "-") != std::string::npos)
        out.push_back(entry.path());
  for (const pid_t pid : processes()) {
    const std::string command = command_line(std::to_string(pid));
    if (pid != ::getpid() && command.find("hpc-vmm-" + name_) != std::string::npos)
      out.push_back("process " + std::to_string(pid) + ": " + command);
  }
  return out;
}

std::unique_ptr<VmmClient> LocalCluster::deputy(unsigned node, const char* comm) {
  auto fd = VmmClient::connect(node_dir(node));
  if (!fd) return nullptr;
  auto client = std::make_unique<VmmClient>(*std::move(fd));
  if (!client->register_as(local::Role::Deputy, comm)) return nullptr;
  const auto welcome = client->wait_for(local::Type::Welcome, 5000);
  if (!welcome || welcome->as<local::Welcome>().node != node) return nullptr;
  return client;
}

int open_channel(VmmClient& deputy, std::uint32_t channel, unsigned node, std::string* why,
                 std::uint64_t memory) {
  local::Open open;
  open.channel = channel;
  open.node = node;
  open.memory = memory;
  if (!deputy.send(open)) return -1;
  const auto opened = deputy.wait_for(local::Type::Opened, 10'000);
  if (!opened || opened->as<local::Opened>().channel != channel) return -1;
  if (why != nullptr) *why = opened->as<local::Opened>().why;
  return opened->as<local::Opened>().code;
}

std::string wait_closed(VmmClient& deputy, std::uint32_t channel, int timeout_ms) {
  const auto closed = deputy.wait_for(local::Type::Closed, timeout_ms);
  if (!closed || closed->as<local::Closed>().channel != channel) return "none came";
  return closed->as<local::Closed>().why;
}

std::string next_record(VmmClient& deputy, int timeout_ms) {
  std::string text;
  eventually(
      [&] {
        std::uint32_t channel = 0;
        std::vector<std::byte> payload;
        for (const bool urgent : {true, false})
          if (text.empty() && deputy.get(urgent, channel, payload))
            text.assign(reinterpret_cast<const char*>(payload.data()), payload.size());
        return !text.empty();
      },
      timeout_ms);
  return text;
}

std::vector<std::byte> record(const std::string& text) {
  const auto* const p = reinterpret_cast<const std::byte*>(text.data());
  return {p, p + text.size()};
}

}  // namespace hpcvmm::daemon::test
