// A cluster on this machine: made and unmade.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/cluster/cgroup.hh"
#include "cli/cluster/names.hh"

namespace hpcvmm::cli {

struct UpRequest {
  Names names;
  unsigned nodes = 3;
  std::string driver = "dpdk";
  std::string wire = "memif";      ///< of DPDK: memif or veth
  std::vector<NodeLimits> limits;  ///< one each, or none
  std::string faults;
  std::string policy = "mosix";  ///< of the balancer
  std::string remote;            ///< executable of remotes, for tests
  bool json = false;
};

/// Reads "2,1,0.5" or "512M,1G", one for all nodes or one each, into `limits`.  Empty: done; else what is
/// wrong.
std::string read_cpus(const std::string& list, unsigned nodes, std::vector<NodeLimits>& limits);
std::string read_memory(const std::string& list, unsigned nodes, std::vector<NodeLimits>& limits);

/// The configuration of one node.  Pure.
std::string node_config(const UpRequest& r, unsigned node);

/// Exit status: 0 up, all nodes see each other; 1 not, and nothing is left of it.
int up(UpRequest r);
/// Exit status: 0 nothing of it is left.
int down(const Names& names);

}  // namespace hpcvmm::cli
