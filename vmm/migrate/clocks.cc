#include "vmm/migrate/clocks.hh"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

namespace hpcvmm::migrate {
namespace {

constexpr std::int64_t ClockReadings::*kClocks[] = {&ClockReadings::realtime, &ClockReadings::monotonic,
                                                    &ClockReadings::monotonic_raw, &ClockReadings::boottime,
                                                    &ClockReadings::tai};

}  // namespace
std::int64_t read_clock(clockid_t id) {
  timespec t{};
  ::syscall(SYS_clock_gettime, id, &t);
  return t.tv_sec * 1'000'000'000LL + t.tv_nsec;
}

ClockReadings read_clocks(const vdso::ClockOffsets& offsets) {
  ClockReadings r;
  r.realtime = read_clock(CLOCK_REALTIME) + offsets.realtime;
  r.monotonic = read_clock(CLOCK_MONOTONIC) + offsets.monotonic;
  r.monotonic_raw = read_clock(CLOCK_MONOTONIC_RAW) + offsets.monotonic_raw;
  r.boottime = read_clock(CLOCK_BOOTTIME) + offsets.boottime;
  r.tai = read_clock(CLOCK_TAI) + offsets.tai;
  return r;
}

void ClockDifference::learn(const ClockReadings& before, const ClockReadings& theirs,
                            const ClockReadings& after) {
  // The raw clock is never set or slewed.
  const std::int64_t error = after.monotonic_raw - before.monotonic_raw;
  if (error >= error_) return;
  error_ = error;
  constexpr std::int64_t kReadingNs = 2000;  // of five clocks, one after the other
  bool same = true;
  for (const auto clock : kClocks) {
    const std::int64_t there = theirs.*clock;
    same = same && there >= before.*clock - kReadingNs && there <= after.*clock + kReadingNs;
  }
  offsets_ = {};
  if (same) return;
  offsets_.realtime = after.realtime - theirs.realtime;
  offsets_.monotonic = after.monotonic - theirs.monotonic;
  offsets_.monotonic_raw = after.monotonic_raw - theirs.monotonic_raw;
  offsets_.boottime = after.boottime - theirs.boottime;
  offsets_.tai = after.tai - theirs.tai;
}

bool ClockDifference::wants_more() const {
  constexpr std::int64_t kSureNs = 20'000'000;
  constexpr std::int64_t kGoodNs = 30'000;
  return error_ > kSureNs || (error_ > kGoodNs && offsets_.any());
}

std::int64_t most_ahead(const ClockReadings& theirs, const ClockReadings& ours) {
  std::int64_t most = 0;
  for (const auto clock : kClocks) most = std::max(most, theirs.*clock - ours.*clock);
  return most;
}

}  // namespace hpcvmm::migrate
