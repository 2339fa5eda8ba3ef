#include <charconv>
#include <cmath>

#include "balancer/sim/scale.hh"

namespace hpcvmm::balancer::sim {

namespace {

/// The next blank-separated field of `rest` as a number; false if there is none or it is not one.
bool field(std::string_view& rest, double& value) {
  const std::size_t begin = rest.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return false;
  rest.remove_prefix(begin);
  const std::string_view word = rest.substr(0, rest.find_first_of(" \t\r"));
  rest.remove_prefix(word.size());
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  return error == std::errc{} && end == word.data() + word.size() && std::isfinite(value) && value >= 0;
}

}  // namespace

Result<std::vector<TraceJob>> parse_trace(std::string_view text, std::uint32_t& line) {
  std::vector<TraceJob> jobs;
  line = 0;
  while (!text.empty()) {
    ++line;
    const std::size_t end = text.find('\n');
    std::string_view rest = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    rest = rest.substr(0, rest.find('#'));
    if (rest.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    double arrival = 0, home = 0, work = 0, memory = 0, calls = 0;
    const bool good = field(rest, arrival) && field(rest, home) && field(rest, work) && field(rest, memory);
    const bool more = rest.find_first_not_of(" \t\r") != std::string_view::npos;
    if (!good || (more && !field(rest, calls)) || rest.find_first_not_of(" \t\r") != std::string_view::npos ||
        home < 1 || home > 1e9 || home != std::floor(home) || work <= 0 ||
        (!jobs.empty() && arrival < jobs.back().arrival_s))
      return Error::of(EINVAL, "trace line");
    jobs.push_back(
        {arrival, static_cast<NodeId>(home), work, static_cast<float>(memory), static_cast<float>(calls)});
  }
  line = 0;
  return jobs;
}

}  // namespace hpcvmm::balancer::sim
