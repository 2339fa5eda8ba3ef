// Which hpcd a tool asks, and asking it.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/cluster/names.hh"

namespace hpcvmm::cli {

/// The nodes on this machine that can be asked: those with an API socket, ascending.
std::vector<unsigned> askable_nodes(const Names& names);

class Client {
 public:
  /// `node`: whose hpcd; 0: $HPCVMM_NODE, or the lowest of this machine.
  explicit Client(Names names, unsigned node = 0);

  /// The cluster that $HPCVMM_CLUSTER names.  Prints a message and ends the program where that is no name.
  static Names cluster_of_environment();

  /// 0: there is none on this machine.
  [[nodiscard]] unsigned node() const { return node_; }
  [[nodiscard]] const Names& names() const { return names_; }

  /// Always an object with "ok"; where it is false, "error" is for people.
  /// Units: `timeout_ms` of silence; 0: for ever.  Threads: any number at once.
  [[nodiscard]] nlohmann::json ask(const nlohmann::json& request, int timeout_ms = 10'000,
                                   const std::function<void(const nlohmann::json&)>& progress = {}) const;

 private:
  Names names_;
  unsigned node_ = 0;
};

/// "hpc-vmm: WHAT" on stderr; 1.
int complain(const std::string& what);

}  // namespace hpcvmm::cli
