// A real cluster for tests: hpc-vmm up with a name of its own, and what the tests want to know about it.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "daemon/test/vmm_client.hh"

namespace hpcvmm::daemon::test {

struct Ran {
  int status = 0;
  std::string out;  ///< stdout and stderr
};
/// Through the shell.
Ran run(const std::string& command);

/// Polls until `done` or the time is over.
bool eventually(const std::function<bool()>& done, int timeout_ms = 5000);

class LocalCluster {
 public:
  /// Its name is made of this process's number: several tests may run beside each other.
  LocalCluster();
  LocalCluster(const LocalCluster&) = delete;
  LocalCluster& operator=(const LocalCluster&) = delete;
  ~LocalCluster();

  Ran up(const std::string& options = "--nodes 3 --driver udp");
  Ran down();
  /// hpc-vmm VERB... --cluster NAME.
  [[nodiscard]] std::string verb(const std::string& words) const;
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::string run_dir() const { return "/run/hpc-vmm-" + name_; }
  [[nodiscard]] std::string node_dir(unsigned node) const { return run_dir() + "/" + std::to_string(node); }
  /// One request to a node's API socket, all lines of the answer; `as_user`: 0 as we are.
  nlohmann::json ask(unsigned node, const nlohmann::json& request, uid_t as_user = 0);
  /// What `nodes` says of one node, as `asked` sees it.
  nlohmann::json node(unsigned id, unsigned asked = 1);
  [[nodiscard]] pid_t hpcd(unsigned node) const;
  /// Processes of this cluster's test remotes, on all nodes (their parents are its hpcds).
  [[nodiscard]] std::vector<pid_t> remotes() const;
  /// Everything of it that can be found: processes, namespaces, folders, groups.
  [[nodiscard]] std::vector<std::string> leftovers() const;
  /// A deputy of this process at that node; nullptr: not connected or not welcome.
  std::unique_ptr<VmmClient> deputy(unsigned node, const char* comm = "test");

 private:
  std::string name_;
};

/// Opens a channel and waits for the answer: an errno value, 0 for success, -1 for none.
int open_channel(VmmClient& deputy, std::uint32_t channel, unsigned node, std::string* why = nullptr,
                 std::uint64_t memory = 1 << 20);
/// Waits for Closed of that channel; its reason, or "none came".
std::string wait_closed(VmmClient& deputy, std::uint32_t channel, int timeout_ms = 5000);
/// The next record of either lane; empty: none in time.
std::string next_record(VmmClient& deputy, int timeout_ms = 5000);
std::vector<std::byte> record(const std::string& text);

}  // namespace hpcvmm::daemon::test
