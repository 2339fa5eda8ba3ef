#include "cli/man/dump.hh"

#include <cstdio>

#include "cli/cluster/cluster.hh"
#include "cli/man/app_page.hh"
#include "cli/sim/sim.hh"
#include "cli/verbs.hh"

namespace hpcvmm::cli {

int dump_cli() {
  nlohmann::json list = nlohmann::json::array();
  const auto add = [&list](const CLI::App& app) {
    for (const Page& page : pages_of_verbs(app, "hpc-vmm")) list.push_back(page_json(page));
  };
  describe_run(add);
  describe_cluster(add);
  describe_sim(add);
  std::printf("%s\n", list.dump(1).c_str());
  return 0;
}

}  // namespace hpcvmm::cli
