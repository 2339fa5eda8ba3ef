// Whole clusters of Membership in the simulated network: how soon all know all, and what it costs.
#pragma once

#include <cstdint>

namespace hpcvmm::net::discovery {

struct ClusterSimOptions {
  std::uint32_t nodes = 50;
  std::uint64_t seed = 1;
  double loss = 0;                  ///< of packets, 0 to 1
  std::uint32_t seeds = 3;          ///< nodes that all know the address of; no multicast
  std::uint32_t watched_s = 60;     ///< of the quiet cluster, for the traffic
  std::uint32_t busy_changes = 20;  ///< joins and crashes, one a second, for the traffic under change
};

/// Seconds of simulated time; -1: not within two minutes.
struct ClusterSimResult {
  std::uint32_t nodes = 0;
  double all_know_all_s = -1;     ///< from a cold start of all within a second
  double join_known_s = -1;       ///< until all know one more
  double join_knows_s = -1;       ///< until that one knows all
  double crash_noticed_s = -1;    ///< until the first node suspects a crashed one
  double crash_known_s = -1;      ///< until all know that it is gone
  double partition_heals_s = -1;  ///< after a half was cut off for 30 s, until all know all again
  double idle_bytes_ps = 0;       ///< sent per node, with seal, UDP and IP headers
  double idle_packets_ps = 0;
  double busy_bytes_ps = 0;  ///< with a join or crash each second
  double most_bytes_ps = 0;  ///< of the node that sent most, in the quiet time
  std::uint32_t longest_packet = 0;
  std::uint32_t false_deaths = 0;  ///< living nodes declared dead, but for the partition
};

/// Pure but for memory, which grows with the square of the nodes (250 bytes each pair).
ClusterSimResult simulate_cluster(const ClusterSimOptions& options);

}  // namespace hpcvmm::net::discovery
