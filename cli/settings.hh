// What the owner of a process wants the balancer to know, as words of the command line.  Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hpcvmm/wire/local.hh"

namespace hpcvmm::cli {

struct SettingsWords {
  bool lock = false, unlock = false, home_only = false;
  unsigned run_on = 0;
  std::string kind, decay;          ///< empty: not given
  std::string nodes, except_nodes;  ///< lists; empty: not given
  [[nodiscard]] bool any() const {
    return lock || unlock || home_only || run_on != 0 || !kind.empty() || !decay.empty() || !nodes.empty() ||
           !except_nodes.empty();
  }
};

/// "1,3-5" as numbers, ascending, each once.  Empty: done; else what is wrong.
std::string read_node_list(const std::string& list, std::vector<std::uint16_t>& nodes);

/// Empty: done; else what is wrong.
std::string read_settings(const SettingsWords& words, wire::local::Settings& settings);

}  // namespace hpcvmm::cli
