// Goal: nodes that are given a part of a CPU share the machine's processors without crowding one.
#include "cli/cluster/cgroup.hh"

#include <gtest/gtest.h>

namespace hpcvmm::cli {
namespace {

std::vector<int> processors_of(const std::vector<double>& cpus, std::size_t first = 0,
                               const std::vector<int>& processors = {2, 5}) {
  std::vector<NodeLimits> limits(cpus.size());
  for (std::size_t i = 0; i < cpus.size(); ++i) limits[i].cpus = cpus[i];
  give_processors(limits, processors, first);
  std::vector<int> out;
  for (const NodeLimits& l : limits) out.push_back(l.processor);
  return out;
}

TEST(Processors, LargestFirstWhereThereIsRoom) {
  EXPECT_EQ(processors_of({0.4, 0.4, 0.8}), (std::vector{5, 5, 2}));
  EXPECT_EQ(processors_of({0.5, 0.5, 0.5, 0.5}), (std::vector{2, 2, 5, 5}));
  EXPECT_EQ(processors_of({0.1, 0.2, 0.7}), (std::vector{2, 2, 2}));
}

TEST(Processors, AllOrNone) {
  EXPECT_EQ(processors_of({0.66, 0.66, 0.66}), (std::vector{-1, -1, -1}));
  EXPECT_EQ(processors_of({1.5, 1}), (std::vector{-1, -1}));
  EXPECT_EQ(processors_of({0, 0.5}), (std::vector{-1, -1}));
  EXPECT_EQ(processors_of({0.5}, 0, {}), (std::vector{-1}));
  EXPECT_EQ(processors_of({1, 1}), (std::vector{2, 5}));
}

TEST(Processors, OtherClustersBeginElsewhere) {
  EXPECT_EQ(processors_of({0.4, 0.4}, 1), (std::vector{5, 5}));
  EXPECT_EQ(processors_of({0.4, 0.8}, 7), (std::vector{2, 5}));
}

}  // namespace
}  // namespace hpcvmm::cli
