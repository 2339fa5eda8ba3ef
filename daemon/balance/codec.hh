// The balancer's loads as they travel between nodes, and back.  Pure.
#pragma once

#include "balancer/gossip.hh"
#include "balancer/types.hh"
#include "daemon/peer_message.hh"

namespace hpcvmm::daemon {

peer::LoadEntry to_wire(const balancer::NodeLoad& load);
balancer::NodeLoad from_wire(const peer::LoadEntry& entry);

/// The entries' measured_s are ages on both sides.
peer::LoadMessage to_wire(const balancer::Gossip::Message& message);
balancer::Gossip::Message from_wire(const peer::LoadMessage& message);

/// Of the cluster: a process at its home's number.
balancer::ProcessId process_id(balancer::NodeId home, std::int32_t pid);

}  // namespace hpcvmm::daemon
