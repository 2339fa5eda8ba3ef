// The model of Amir, Awerbuch, Barak, Borgstrom, Keren, "An Opportunity Cost Approach for Job Assignment in a
// Scalable Computing Cluster", IEEE TPDS 11(7), 2000: six machines, one stream of jobs, several methods. What
// the paper leaves open, what was chosen, and how much it matters: README.md.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "balancer/random.hh"
#include "balancer/types.hh"

namespace hpcvmm::balancer::sim {

enum class Method : std::uint8_t { Pvm, EPvm, Mosix, EMosix, Ours, Oracle };
inline constexpr std::array<Method, 6> kMethods{Method::Pvm,    Method::EPvm, Method::Mosix,
                                                Method::EMosix, Method::Ours, Method::Oracle};
/// "PVM", "E-PVM", "MOSIX", "E-MOSIX", "mosix", "oracle".
std::string_view name(Method method);

/// The model; all times in seconds.  "Paper" marks what is printed there.
struct TpdsModel {
  double length_s = 10000;         ///< paper; jobs unfinished then are not counted
  double interarrival_s = 10;      ///< paper: about one job per 10 s; exponential
  double need_s = 2;               ///< paper: 2/r on the fastest machine
  double big_need_s = 20;          ///< paper: 20/r ...
  double big_share = 0.05;         ///< paper: ... for 5 % of jobs,
  unsigned most_parts = 20;        ///< paper: in 1 to 20 parts
  bool need_is_of_part = true;     ///< each part needs 20/r; false: the parts share it
  bool memory_is_of_part = false;  ///< each part needs 1/m %; false: the parts share it
  double least_r = 0.065;          ///< r ~ U(least_r, 1): the paper says U(0, 1), whose 1/r has no mean
  double least_m = 0.06;           ///< the same for memory
  double thrash_factor = 10;       ///< paper: tau
  double tick_s = 1;               ///< migrating methods look once a second
  unsigned looked_at = 2;          ///< machines each looks at
  double mosix_threshold = 6;      ///< MOSIX moves above this difference of relative load
};

struct TpdsJob {
  double arrival_s, need_s, memory_mb;
};
/// The jobs of one execution, in order of arrival.  Pure.
std::vector<TpdsJob> tpds_jobs(const TpdsModel& model, Random random);

struct TpdsRun {
  double slowdown_sum = 0;  ///< (completion - arrival) / need, over finished jobs
  std::uint32_t finished = 0, jobs = 0, moves = 0;
};
/// One execution.  Pure: the same arguments give the same result.
TpdsRun tpds_run(const TpdsModel& model, Method method, const std::vector<TpdsJob>& jobs, Random random);

struct TpdsResult {
  double by_job = 0, by_execution = 0;
  double by_execution_error = 0;  ///< standard error of by_execution
  double finished_share = 0, moves_per_job = 0;
};
/// `runs` executions of every method over the same jobs, on `threads` threads.  The result depends on
/// neither.
std::array<TpdsResult, kMethods.size()> tpds2000(const TpdsModel& model, std::uint32_t runs,
                                                 std::uint64_t seed, unsigned threads);

}  // namespace hpcvmm::balancer::sim
