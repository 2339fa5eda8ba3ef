// The cluster as the programs of this node see it: gathers what every node says of its CPUs and memory, and
// publishes the sum in run_dir/view (a page for deputies, files for programs).
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "daemon/config.hh"
#include "daemon/cpu_ranges.hh"
#include "daemon/members.hh"
#include "daemon/outbox.hh"
#include "daemon/remotes.hh"
#include "daemon/sessions.hh"
#include "daemon/view_files.hh"
#include "guest-agent/view/proc_files.hh"
#include "guest-agent/view/system_tree.hh"
#include "hpcvmm/base/result.hh"
#include "hpcvmm/wire/view.hh"

namespace hpcvmm::daemon {

/// What it needs of the parts around it; they outlive it.
struct ViewSources {
  const Members& members;
  const Sessions& sessions;
  const Remotes& remotes;
  Outbox& outbox;
  std::function<std::uint32_t(Node)> rtt_us;  ///< 0: not known
};

/// Threads: one.
class ClusterView {
 public:
  ClusterView(const Config& config, ViewSources sources);
  ClusterView(const ClusterView&) = delete;
  ClusterView& operator=(const ClusterView&) = delete;
  ~ClusterView();

  /// Makes run_dir/view.  Errors: those of mkdir, open, mmap.
  Status start();
  void on_up(Node node);
  void on_down(Node node);
  void on_message(Node from, const peer::ViewMessage& m, std::uint64_t now_ms);
  void tick(std::uint64_t now_ms);

  [[nodiscard]] const CpuRange* range_of(Node node) const { return ranges_.find(node); }
  /// True if a process with that affinity may run there.
  [[nodiscard]] bool allows(const wire::view::CpuSet& affinity, Node node) const;
  /// Nodes that are up and own one of these CPUs, home first, then the least loaded.
  [[nodiscard]] std::vector<Node> nodes_of(const wire::view::CpuSet& cpus) const;
  /// CPUs of nodes that are up.
  [[nodiscard]] wire::view::CpuSet online() const;

 private:
  /// What a node says in its own files.
  struct Facts {
    std::array<std::string, peer::kViewTexts> texts;
  };
  struct Unmap {
    void operator()(wire::view::Shared* at) const;
  };

  void read_own();
  enum class Part : std::uint8_t { Numbers, All };
  void send_to(Node node, Part part);
  void send_to_whom_it_concerns();
  [[nodiscard]] bool has_viewers() const;
  std::vector<view::NodeFiles> gather(std::size_t& own) const;
  void write_tree(const std::vector<view::NodeFiles>& nodes);
  void put_distances(const view::SystemNode& n);
  void publish(const std::vector<view::NodeFiles>& nodes);
  void fill_processes(wire::view::Page& page) const;

  const Config& config_;
  ViewSources sources_;
  CpuRanges ranges_;
  ViewFiles files_;
  std::map<Node, Facts> facts_;
  std::map<Node, std::uint64_t> wanted_until_ms_;  ///< by nodes where programs look
  bool announce_ = false;                          ///< our numbers are news to everybody
  std::vector<view::Cache> caches_;
  std::vector<std::pair<std::string, std::string>> vulnerabilities_;
  std::unordered_map<pid_t, std::pair<Node, std::uint64_t>> away_us_;  ///< of processes of ours
  std::unique_ptr<wire::view::Shared, Unmap> page_;
  std::uint64_t now_ms_ = 0, next_ms_ = 0;
  std::string tree_of_;  ///< the nodes that the tree shows
  std::uint32_t cpus_ = 1;
};

}  // namespace hpcvmm::daemon
