#include "vmm/migrate/clocks.hh"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

namespace hpcvmm::migrate {
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
  // The raw clock is never set or slewed.  Half of the way, and half of what reading five clocks takes.
  const std::int64_t error = (after.monotonic_raw - before.monotonic_raw) / 2 + 1000;
  if (error >= error_) return;
  error_ = error;
  const auto between = [error](std::int64_t ours_before, std::int64_t there, std::int64_t ours_after) {
    const std::int64_t difference = ours_before + (ours_after - ours_before) / 2 - there;
    return difference < -error || difference > error ? difference : 0;
  };
  offsets_.realtime = between(before.realtime, theirs.realtime, after.realtime);
  offsets_.monotonic = between(before.monotonic, theirs.monotonic, after.monotonic);
  offsets_.monotonic_raw = between(before.monotonic_raw, theirs.monotonic_raw, after.monotonic_raw);
  offsets_.boottime = between(before.boottime, theirs.boottime, after.boottime);
  offsets_.tai = between(before.tai, theirs.tai, after.tai);
}

bool ClockDifference::wants_more() const {
  constexpr std::int64_t kSureNs = 20'000'000;
  constexpr std::int64_t kGoodNs = 30'000;
  return error_ > kSureNs || (error_ > kGoodNs && offsets_.any());
}

std::int64_t most_ahead(const ClockReadings& theirs, const ClockReadings& ours) {
  return std::max({std::int64_t{0}, theirs.realtime - ours.realtime, theirs.monotonic - ours.monotonic,
                   theirs.monotonic_raw - ours.monotonic_raw, theirs.boottime - ours.boottime,
                   theirs.tai - ours.tai});
}

}  // namespace hpcvmm::migrate
