#include "net/driver/clock.hh"

#include <ctime>

namespace hpcvmm::net {

Nanos SystemClock::now() const {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<Nanos>(t.tv_sec) * kSecond + static_cast<Nanos>(t.tv_nsec);
}

}  // namespace hpcvmm::net
