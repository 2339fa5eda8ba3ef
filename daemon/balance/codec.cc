#include "daemon/balance/codec.hh"

#include <algorithm>
#include <cmath>
#include <limits>

namespace hpcvmm::daemon {

using balancer::NodeLoad;

static_assert(sizeof(peer::LoadHead) + peer::kMostLoads * sizeof(peer::LoadEntry) ==
              balancer::Gossip::kMessageBytes);

namespace {

/// Rounded, and cut to what fits.
template <class T> T fit(double value) {
  if (!(value > 0) && std::is_unsigned_v<T>) return 0;
  const double least = static_cast<double>(std::numeric_limits<T>::lowest());
  const double most = static_cast<double>(std::numeric_limits<T>::max());
  return static_cast<T>(std::clamp(std::round(value), least, most));
}

}  // namespace

peer::LoadEntry to_wire(const NodeLoad& n) {
  peer::LoadEntry e;
  e.node = n.node;
  e.epoch = n.epoch;
  e.age_ms = fit<std::uint32_t>(n.measured_s * 1e3);
  e.speed_milli = std::max<std::uint32_t>(1, fit<std::uint32_t>(n.speed * 1e3));
  e.run_queue_milli = fit<std::uint32_t>(n.run_queue * 1e3);
  e.urgency_micro = fit<std::uint32_t>(n.urgency * 1e6);
  e.total_mib = std::max<std::uint32_t>(1, fit<std::uint32_t>(n.total_mib));
  e.free_mib = fit<std::int32_t>(n.free_mib);
  e.network_kib_ps = fit<std::uint32_t>(n.network_bytes_ps / 1024);
  e.io_kib_ps = fit<std::uint32_t>(n.io_bytes_ps / 1024);
  e.utilisation_permille = fit<std::uint16_t>(n.utilisation * 1e3);
  e.paging_permille = fit<std::uint16_t>(n.paging * 1e3);
  e.cpus = std::max<std::uint16_t>(1, n.cpus);
  e.orders = n.orders;
  e.owner_active = n.owner_active ? 1 : 0;
  return e;
}

NodeLoad from_wire(const peer::LoadEntry& e) {
  NodeLoad n;
  n.node = e.node;
  n.epoch = e.epoch;
  n.measured_s = e.age_ms / 1e3;
  n.speed = static_cast<float>(e.speed_milli / 1e3);
  n.run_queue = static_cast<float>(e.run_queue_milli / 1e3);
  n.urgency = static_cast<float>(e.urgency_micro / 1e6);
  n.total_mib = static_cast<float>(e.total_mib);
  n.free_mib = static_cast<float>(e.free_mib);
  n.network_bytes_ps = static_cast<float>(e.network_kib_ps) * 1024;
  n.io_bytes_ps = static_cast<float>(e.io_kib_ps) * 1024;
  n.utilisation = static_cast<float>(e.utilisation_permille / 1e3);
  n.paging = static_cast<float>(e.paging_permille / 1e3);
  n.cpus = e.cpus;
  n.orders = e.orders;
  n.owner_active = e.owner_active != 0;
  return n;
}

peer::LoadMessage to_wire(const balancer::Gossip::Message& message) {
  peer::LoadMessage m;
  m.head.count = static_cast<std::uint32_t>(std::min<std::size_t>(message.count, peer::kMostLoads));
  m.head.answer = message.answer ? 1 : 0;
  for (std::size_t i = 0; i < m.head.count; ++i) m.entries[i] = to_wire(message.entries[i]);
  return m;
}

balancer::Gossip::Message from_wire(const peer::LoadMessage& message) {
  balancer::Gossip::Message m;
  m.count = message.head.count;
  m.answer = message.head.answer != 0;
  for (std::size_t i = 0; i < m.count; ++i) m.entries[i] = from_wire(message.entries[i]);
  return m;
}

balancer::ProcessId process_id(balancer::NodeId home, std::int32_t pid) {
  return balancer::ProcessId{home} << 32 | static_cast<std::uint32_t>(pid);
}

}  // namespace hpcvmm::daemon
