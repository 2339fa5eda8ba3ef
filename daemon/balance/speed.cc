#include "daemon/balance/speed.hh"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>

#include "daemon/facts.hh"
#include "hpcvmm/base/unique_fd.hh"

namespace hpcvmm::daemon {

namespace {

/// Rounds per CPU second of the reference CPU: a 2.1 GHz server core of 2023.
constexpr double kReferenceRounds = 2400;

double cpu_seconds() {
  timespec t{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

/// Some hundred microseconds of work whose result depends on every step.
std::uint64_t round_of_work(std::uint64_t seed) {
  std::array<std::uint32_t, 8192> table;  // 32 KiB: the first cache of any CPU
  std::uint64_t x = seed | 1;
  for (std::uint32_t& t : table) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    t = static_cast<std::uint32_t>(x);
  }
  double sum = 1;
  std::uint32_t at = static_cast<std::uint32_t>(x);
  for (int i = 0; i < 40'000; ++i) {
    at = table[at % table.size()] * 2654435761U + static_cast<std::uint32_t>(i);
    if ((at & 64) != 0)
      x += at;
    else
      x ^= at << 3;
    sum = sum * 0.999 + static_cast<double>(at & 255);
  }
  return x + static_cast<std::uint64_t>(sum);
}

std::string cpu_model() {
  const std::string text = read_small("/proc/cpuinfo");
  const std::size_t at = text.find("model name");
  if (at == std::string::npos) return "unknown";
  return text.substr(at, text.find('\n', at) - at);
}

}  // namespace

double measure_speed() {
  constexpr int kBursts = 8;
  constexpr double kBurstS = 0.005;
  double best = 0;
  std::uint64_t result = 1;
  for (int b = 0; b < kBursts; ++b) {
    const double begin = cpu_seconds();
    double end = begin;
    int rounds = 0;
    while (end - begin < kBurstS) {
      result = round_of_work(result);
      ++rounds;
      end = cpu_seconds();
    }
    best = std::max(best, rounds / (end - begin));
  }
  // The result is used: nothing of the work may be left out.
  const double speed = best / kReferenceRounds + (result == 0 ? 1e-9 : 0);
  return std::max(0.001, std::round(speed * 1000) / 1000);
}

double known_speed(const std::string& file) {
  const std::string model = cpu_model();
  const auto noted = [&] {
    const std::string text = read_small(file);
    const std::size_t blank = text.find(' ');
    const bool same = blank != std::string::npos && text.substr(blank + 1) == model + "\n";
    const double speed = same ? std::strtod(text.c_str(), nullptr) : 0;
    return speed > 0.001 && speed < 1000 ? speed : 0;
  };
  if (const double speed = noted(); speed > 0) return speed;
  const double speed = measure_speed();
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.3f ", speed);
  const std::string line = text.data() + model + "\n";
  // Nodes of one machine that start at once agree on whoever was first.
  const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (fd) {
    static_cast<void>(::write(fd.get(), line.data(), line.size()) < 0);
    return speed;
  }
  if (const double first = noted(); first > 0) return first;
  return speed;
}

}  // namespace hpcvmm::daemon
