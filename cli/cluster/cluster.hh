// The verbs of the cluster: up, down, nodes, ps, migrate.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace hpcvmm::cli {

/// Runs the verb in argv[1] if it is one of these.  Returns the exit status (0; 1: it failed and said why on
/// stderr; 125: wrong usage), or -1: it is another verb.  Apart from the other verbs, so that `launch` need
/// not know these.
int cluster_main(int argc, char** argv);

/// Shows `with` these verbs, as CLI11 parses them.
void describe_cluster(const std::function<void(const CLI::App&)>& with);

}  // namespace hpcvmm::cli
