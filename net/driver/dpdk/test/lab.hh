// Lab: processes, network namespaces and folders of a test, all gone when the test is, however it ends.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "hpcvmm/base/unique_fd.hh"

namespace hpcvmm::net::dpdk::lab {

/// Runs "/bin/sh -c command"; its exit status.
int shell(const std::string& command);

/// Two namespaces joined by a veth pair, interfaces "wire" in both.  Removes at first what a killed test has
/// left.
class Wire {
 public:
  explicit Wire(unsigned mtu, bool with_addresses);
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;
  ~Wire();
  /// Namespace 0 or 1.
  [[nodiscard]] std::string name(unsigned side) const;
};

/// A folder under /tmp.
class Folder {
 public:
  Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder();
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// A dpdk_test_peer.
class Peer {
 public:
  /// In namespace `space` ("": ours).  Returns when it says that it is ready.
  Peer(const std::string& space, const std::vector<std::string>& args);
  Peer(Peer&& other) noexcept;
  Peer& operator=(Peer&& other) noexcept;
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  ~Peer();

  [[nodiscard]] bool is_ready() const { return ready_; }
  void signal(int number) const;
  /// Kills it and waits.
  void kill();
  /// Ends its stdin (echo, sink end by that) and waits; what it printed.  A test fails if it does not end
  /// well.
  std::map<std::string, std::uint64_t> finish();
  /// Waits until it ends by itself.
  std::map<std::string, std::uint64_t> wait();

 private:
  void start(const std::string& space, const std::vector<std::string>& args);
  std::string read_line();
  int reap();

  pid_t pid_ = -1;
  UniqueFd in_;
  UniqueFd out_;
  std::string buffer_;
  bool ready_ = false;
};

}  // namespace hpcvmm::net::dpdk::lab
