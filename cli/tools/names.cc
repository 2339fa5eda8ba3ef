#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "cli/cluster/nodes.hh"
#include "cli/tools/tools.hh"

namespace hpcvmm::cli {

const std::vector<std::string>& tool_names() {
  static const std::vector<std::string> kNames{
      "top",     "mon",       "procfs",    "mosrun", "nomig", "runhome", "runon",  "cpujob",  "iojob",
      "nodecay", "slowdecay", "fastdecay", "mosctl", "mps",   "mtop",    "mosmon", "complete"};
  return kNames;
}

int hand_over_to_tools(int argc, char** argv) {
  if (argc < 2) return -1;
  const auto& names = tool_names();
  if (std::find(names.begin(), names.end(), argv[1]) == names.end()) return -1;
  const std::string path = own_folder() + "/hpc-vmm-tools";
  char own[] = "hpc-vmm";  // whatever link it was called by
  argv[0] = own;
  ::execv(path.c_str(), argv);
  std::fprintf(stderr, "hpc-vmm: %s: %s; it belongs beside hpc-vmm\n", path.c_str(), std::strerror(errno));
  return 125;
}

}  // namespace hpcvmm::cli
