// Decisions of a live node as lines of JSON: everything decide() was given, and what it answered.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "balancer/types.hh"

namespace hpcvmm::balancer::record {

/// One round, without a line feed.  Pure.
std::string line(const View& view, Policy policy, const Knobs& knobs, const std::vector<Decision>& moves);

/// A round that was recorded.
struct Round {
  View view;
  Policy policy = Policy::Mosix;
  Knobs knobs;
  std::vector<Decision> moves;
  // What the view's spans show.
  std::vector<NodeLoad> others;
  std::vector<Process> processes;
  std::vector<std::vector<NodeId>> masks;
  std::vector<std::vector<Partner>> partners;
};

/// Null: not such a line.
std::unique_ptr<Round> parse(std::string_view line);

/// Decides the round again with the present code.  Empty: the same moves; else where it differs, for people.
std::string replay(const Round& round);

}  // namespace hpcvmm::balancer::record
