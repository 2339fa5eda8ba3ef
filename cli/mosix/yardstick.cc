#include "cli/mosix/yardstick.hh"

#include <cstdlib>

#include "cli/cluster/command.hh"

namespace hpcvmm::cli {

namespace {
std::string path(const Names& names, unsigned node) { return names.node_dir(node) + "/yardstick"; }
}  // namespace

double read_yardstick(const Names& names, unsigned node) {
  const double speed = std::strtod(read_file(path(names, node)).c_str(), nullptr);
  return speed > 0 ? speed : 1;
}

std::string write_yardstick(const Names& names, unsigned node, double speed) {
  return write_file(path(names, node), std::to_string(speed) + "\n");
}

}  // namespace hpcvmm::cli
