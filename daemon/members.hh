// Who is in the cluster, and what each node said of itself.  Pure state: no clock, no network.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "daemon/config.hh"
#include "daemon/peer_message.hh"

namespace hpcvmm::daemon {

struct Member {
  Node id = 0;
  std::string address;
  peer::NodeState state = peer::NodeState::Down;
  std::string why = "not seen yet";  ///< it is down
  peer::Gossip info{};               ///< as it last said
  std::uint64_t heard_ms = 0;
};

const char* state_name(peer::NodeState s);

/// Threads: one.  Times are milliseconds of any one clock.
class Members {
 public:
  Members(Node self, const std::string& address, const std::vector<Seed>& seeds);

  /// Known from now on, if it was not; with that address.
  void add(Node node, const std::string& address);
  void on_up(Node node, std::uint64_t now_ms);
  void on_down(Node node, const std::string& why);
  void on_gossip(Node node, const peer::Gossip& g, std::uint64_t now_ms);
  /// It does not answer, or does again.
  void on_suspect(Node node, bool suspect);
  /// What this node says of itself; the epoch is filled in here.
  void set_self(const peer::Gossip& g, std::uint64_t now_ms);

  [[nodiscard]] Node self() const { return self_; }
  [[nodiscard]] const Member* find(Node node) const;
  [[nodiscard]] const std::map<Node, Member>& all() const { return members_; }
  /// Nodes but ourselves that are there, connected or not.
  [[nodiscard]] std::vector<Node> reachable() const;
  /// Grows with every join and leave that this node sees, and is never behind what others have said.
  [[nodiscard]] std::uint64_t epoch() const { return epoch_; }
  /// Empty: processes may move there; else why not, for people.
  [[nodiscard]] std::string cannot_take(Node node) const;

 private:
  Node self_;
  std::map<Node, Member> members_;
  std::uint64_t epoch_ = 1;
};

}  // namespace hpcvmm::daemon
