// showmap and setpe: the cluster as openMosix's map file.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "cli/cluster/show.hh"

namespace hpcvmm::cli {

struct SetpeRequest {
  AskRequest ask;
  bool write = false, write_any = false, read = false, off = false, check = false;
  std::string file = "/etc/hpc.map";  ///< read from
  std::string target = "/etc/hpc.map";
  unsigned own = 0;
  std::string inet;
  int gateways = 0;
};

// Exit status: 0, or 1 after a message on stderr.
int show_map(const AskRequest& r);
int setpe(const SetpeRequest& r);

/// The map of the answer to "nodes", as text and as JSON.  Pure.
std::string map_of_nodes(const nlohmann::json& answer);
nlohmann::json map_json(const nlohmann::json& answer);

}  // namespace hpcvmm::cli
