#include "daemon/members.hh"

#include <algorithm>

namespace hpcvmm::daemon {

using peer::NodeState;

const char* state_name(NodeState s) {
  switch (s) {
    case NodeState::Down: return "down";
    case NodeState::Up: return "up";
    case NodeState::Suspect: return "suspect";
    case NodeState::Draining: return "draining";
  }
  return "down";
}

Members::Members(Node self, const std::string& address, const std::vector<Seed>& seeds) : self_(self) {
  Member own;
  own.id = self;
  own.address = address;
  own.state = NodeState::Up;
  own.why.clear();
  members_.emplace(self, std::move(own));
  for (const Seed& seed : seeds) {
    if (seed.id == 0) continue;
    Member m;
    m.id = seed.id;
    m.address = seed.address;
    members_.emplace(seed.id, std::move(m));
  }
}

void Members::on_up(Node node, std::uint64_t now_ms) {
  const auto found = members_.find(node);
  if (found == members_.end()) return;
  Member& m = found->second;
  m.state = NodeState::Up;
  m.why.clear();
  m.heard_ms = now_ms;
  ++epoch_;
}

void Members::on_down(Node node, const std::string& why) {
  const auto found = members_.find(node);
  if (found == members_.end() || node == self_) return;
  Member& m = found->second;
  if (m.state != NodeState::Down) ++epoch_;
  m.state = NodeState::Down;
  m.why = why;
}

void Members::on_gossip(Node node, const peer::Gossip& g, std::uint64_t now_ms) {
  const auto found = members_.find(node);
  if (found == members_.end() || node == self_ || found->second.state == NodeState::Down) return;
  Member& m = found->second;
  m.info = g;
  m.heard_ms = now_ms;
  m.state = g.state == NodeState::Draining ? NodeState::Draining : NodeState::Up;
  epoch_ = std::max(epoch_, g.epoch);
}

void Members::add(Node node, const std::string& address) {
  if (node == self_) return;
  Member& m = members_[node];
  m.id = node;
  m.address = address;
}

void Members::on_suspect(Node node, bool suspect) {
  const auto found = members_.find(node);
  if (found == members_.end() || node == self_ || found->second.state == NodeState::Down) return;
  Member& m = found->second;
  if (suspect)
    m.state = NodeState::Suspect;
  else if (m.state == NodeState::Suspect)
    m.state = m.info.state == NodeState::Draining ? NodeState::Draining : NodeState::Up;
}

void Members::set_self(const peer::Gossip& g, std::uint64_t now_ms) {
  Member& own = members_.at(self_);
  own.info = g;
  own.info.epoch = epoch_;
  own.state = g.state;
  own.heard_ms = now_ms;
}

const Member* Members::find(Node node) const {
  const auto found = members_.find(node);
  return found == members_.end() ? nullptr : &found->second;
}

std::vector<Node> Members::reachable() const {
  std::vector<Node> out;
  for (const auto& [id, m] : members_)
    if (id != self_ && m.state != NodeState::Down) out.push_back(id);
  return out;
}

std::string Members::cannot_take(Node node) const {
  const Member* const m = find(node);
  const std::string name = "node " + std::to_string(node);
  if (m == nullptr) return "there is no " + name + "; hpc-vmm nodes lists them";
  switch (m->state) {
    case NodeState::Up: return {};
    case NodeState::Down: return name + " is down: " + m->why;
    case NodeState::Suspect: return name + " does not answer";
    case NodeState::Draining: return name + " is being drained and takes nobody";
  }
  return name + " is in an unknown state";
}

}  // namespace hpcvmm::daemon
