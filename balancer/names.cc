#include <array>
#include <cstdio>

#include "balancer/decide.hh"

namespace hpcvmm::balancer {

std::string_view name(Reason reason) {
  constexpr std::array<std::string_view, 10> kNames{
      "stays",   "lower cost",   "memory", "owner returned", "expelled",
      "drained", "brought home", "run-on", "home only",      "placed"};
  return kNames[static_cast<std::size_t>(reason)];
}

std::string_view name(Forbidden forbidden) {
  constexpr std::array<std::string_view, 17> kNames{"nothing",
                                                    "locked",
                                                    "cannot move",
                                                    "already moving",
                                                    "node stays (stay)",
                                                    "local stay (lstay)",
                                                    "too young",
                                                    "residency",
                                                    "moves in flight",
                                                    "node is blocked",
                                                    "node mask",
                                                    "no free memory",
                                                    "owner active",
                                                    "information too old",
                                                    "too little gain",
                                                    "no other node",
                                                    "policy"};
  return kNames[static_cast<std::size_t>(forbidden)];
}

std::string_view name(Policy policy) {
  constexpr std::array<std::string_view, 4> kNames{"mosix", "static", "round-robin", "random"};
  return kNames[static_cast<std::size_t>(policy)];
}

std::string describe(const Decision& d) {
  std::array<char, 400> text{};
  int n = std::snprintf(text.data(), text.size(), "process %llu %s node %u (%.*s): staying costs %.4f",
                        static_cast<unsigned long long>(d.process), d.moves() ? "goes to" : "stays on", d.to,
                        static_cast<int>(name(d.reason).size()), name(d.reason).data(), d.stay_cost);
  std::string out(text.data(), static_cast<std::size_t>(n));
  if (d.best != kNoNode) {
    n = std::snprintf(text.data(), text.size(), "; node %u would cost %.4f, of that the move %.4f", d.best,
                      d.best_cost, d.move_cost);
    out.append(text.data(), static_cast<std::size_t>(n));
  }
  if (d.next_best != kNoNode) {
    n = std::snprintf(text.data(), text.size(), "; next best node %u: %.4f", d.next_best, d.next_best_cost);
    out.append(text.data(), static_cast<std::size_t>(n));
  }
  if (d.forbidden != Forbidden::Nothing) out.append("; kept by: ").append(name(d.forbidden));
  return out;
}

}  // namespace hpcvmm::balancer
