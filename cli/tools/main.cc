// hpc-vmm-tools: what people watch and steer the cluster with.  Called by the name of a tool (a link), or as
// `hpc-vmm VERB`, which executes this with the same words.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>

#include "cli/mosix/mosctl.hh"
#include "cli/mosix/mosrun.hh"
#include "cli/mosix/mps.hh"
#include "cli/procfs/procfs.hh"
#include "cli/tools/client.hh"
#include "cli/tools/tools.hh"
#include "cli/top/top.hh"

namespace hpcvmm::cli {

namespace {

struct Tool {
  const char* name;
  int (*run)(int argc, char** argv);
};

int complete_main(int argc, char** argv);

constexpr Tool kTools[] = {{"top", top_main},        {"mon", mon_main},          {"procfs", procfs_main},
                           {"mosrun", mosrun_main},  {"nomig", mosrun_main},     {"runhome", mosrun_main},
                           {"runon", mosrun_main},   {"cpujob", mosrun_main},    {"iojob", mosrun_main},
                           {"nodecay", mosrun_main}, {"slowdecay", mosrun_main}, {"fastdecay", mosrun_main},
                           {"mosctl", mosctl_main},  {"mps", mps_main},          {"mtop", top_main},
                           {"mosmon", mon_main},     {"complete", complete_main}};

/// For the completion of shells: a word a line; nothing where there is no cluster.
int complete_main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  const Client client(Client::cluster_of_environment());
  const bool nodes = what == "nodes";
  const nlohmann::json answer = client.ask({{"op", nodes ? "nodes" : "ps"}}, 2000);
  for (const nlohmann::json& item : answer.value(nodes ? "nodes" : "processes", nlohmann::json::array()))
    std::printf("%d\n", item.value(nodes ? "id" : "pid", 0));
  return 0;
}

int dump_pages() {
  nlohmann::json list = nlohmann::json::array();
  list.push_back(page_json(top_page("top")));
  list.push_back(page_json(mon_page("mon")));
  list.push_back(page_json(procfs_page()));
  for (const char* name :
       {"mosrun", "nomig", "runhome", "runon", "cpujob", "iojob", "nodecay", "slowdecay", "fastdecay"})
    list.push_back(page_json(mosrun_page(name)));
  Page mtop = top_page("mtop");
  Page mosmon = mon_page("mosmon");
  mtop.old_name = mosmon.old_name = true;
  for (const Page& p : {mosctl_page(), old_migrate_page(), mps_page(), mtop, mosmon})
    list.push_back(page_json(p));
  std::printf("%s\n", list.dump(1).c_str());
  return 0;
}

int run_tool(int argc, char** argv) {
  const char* const slash = std::strrchr(argv[0], '/');
  std::string name = slash != nullptr ? slash + 1 : argv[0];
  // The link `migrate`; `hpc-vmm migrate` is a verb of hpc-vmm itself.
  if (name == "migrate") return old_migrate_main(argc, argv);
  if (name == "hpc-vmm" || name == "hpc-vmm-tools") {
    if (argc == 2 && std::strcmp(argv[1], "--dump-cli") == 0) return dump_pages();
    name = argc > 1 ? argv[1] : "";
    ++argv;
    --argc;
  } else {
    static std::string own;  // argv[0] without its folder
    own = name;
    argv[0] = own.data();
  }
  for (const Tool& tool : kTools)
    if (name == tool.name) return tool.run(argc, argv);
  std::fprintf(stderr, "hpc-vmm-tools is run as hpc-vmm VERB, or by the name of a tool:");
  for (const std::string& known : tool_names())
    if (known != "complete") std::fprintf(stderr, " %s", known.c_str());
  std::fprintf(stderr, "\n");
  return 125;
}

}  // namespace

}  // namespace hpcvmm::cli

int main(int argc, char** argv) { return argc > 0 ? hpcvmm::cli::run_tool(argc, argv) : 125; }
