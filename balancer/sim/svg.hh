// A small line chart as SVG: enough for convergence against cluster size.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace hpcvmm::balancer::sim {

struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points;
};
struct Chart {
  std::string title, x_name, y_name;
  std::vector<Series> series;
  bool log_x = true;
};

/// The chart as a whole SVG document.  Names are taken as they are, without markup characters.
std::string svg(const Chart& chart);

}  // namespace hpcvmm::balancer::sim
