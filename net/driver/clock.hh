// Clock: where the transport and the drivers take the time from; simulations put their own in its place.
#pragma once

#include <cstdint>

namespace hpcvmm::net {

/// Nanoseconds since some moment in the past; never goes back.
using Nanos = std::uint64_t;

inline constexpr Nanos kMicrosecond = 1'000;
inline constexpr Nanos kMillisecond = 1'000'000;
inline constexpr Nanos kSecond = 1'000'000'000;
/// A deadline that never comes.
inline constexpr Nanos kNever = ~Nanos{0};

class Clock {
 public:
  Clock() = default;
  Clock(const Clock&) = delete;
  Clock& operator=(const Clock&) = delete;
  virtual ~Clock() = default;
  [[nodiscard]] virtual Nanos now() const = 0;
};

/// CLOCK_MONOTONIC of this machine.
class SystemClock final : public Clock {
 public:
  [[nodiscard]] Nanos now() const override;
};

}  // namespace hpcvmm::net
