// Where a cluster on this machine keeps its things.
#pragma once

#include <string>
#include <vector>

namespace hpcvmm::cli {

/// Nodes of a cluster on one machine, at most: one subnet.
inline constexpr unsigned kMostLocalNodes = 64;
inline constexpr unsigned kPort = 7200;

/// `name`: empty for the usual cluster; another one beside it has a name and nothing in common with it.
struct Names {
  std::string name;

  /// /run/hpc-vmm or /run/hpc-vmm-NAME.
  [[nodiscard]] std::string run() const { return name.empty() ? "/run/hpc-vmm" : "/run/hpc-vmm-" + name; }
  [[nodiscard]] std::string node_dir(unsigned node) const { return run() + "/" + std::to_string(node); }
  /// Network namespace of a node: hpcvmm-1.
  [[nodiscard]] std::string space(unsigned node) const { return prefix() + std::to_string(node); }
  [[nodiscard]] std::string switch_space() const { return prefix() + "sw"; }
  [[nodiscard]] std::string prefix() const { return name.empty() ? "hpcvmm-" : "hpcvmm-" + name + "-"; }
  /// "--cluster NAME" for messages, with a blank before it.
  [[nodiscard]] std::string option() const { return name.empty() ? "" : " --cluster " + name; }
  static std::string address(unsigned node) { return "10.77.0." + std::to_string(node); }
  /// The same in the other family; a node of `up` has both.
  static std::string address6(unsigned node) { return "fd77::" + hex(node); }
  static std::string hex(unsigned number);
  /// Nodes that up has made a folder for, ascending; with or without a running hpcd.
  [[nodiscard]] std::vector<unsigned> nodes() const;
};

/// 1 to 8 letters and digits, the first a letter.
bool good_cluster_name(const std::string& name);

}  // namespace hpcvmm::cli
