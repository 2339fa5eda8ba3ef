// mps: ps(1) with a column for the node.
#pragma once

#include <map>
#include <string>

#include "cli/man/page.hh"

namespace hpcvmm::cli {

/// What is shown of a process of the cluster.
struct MpsFacts {
  unsigned where = 0, migrations = 0;
  bool locked = false;
};

/// ps's output with the columns NODE, NMIGS and LOCK before each line; "-" for processes that are not the
/// cluster's.  Without a column PID: unchanged.  Pure.
std::string with_nodes(const std::string& ps_output, const std::map<int, MpsFacts>& facts);

int mps_main(int argc, char** argv);
Page mps_page();

}  // namespace hpcvmm::cli
