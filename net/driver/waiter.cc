#include "net/driver/waiter.hh"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <ctime>

namespace hpcvmm::net {
namespace {

// No tag of a caller: the driver's descriptors.
constexpr std::uint64_t kDriverTag = ~std::uint64_t{0};
constexpr int kEvents = 64;

Status epoll_add(int epoll, int fd, std::uint64_t tag) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = tag;
  if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) return Error::last("epoll_ctl(EPOLL_CTL_ADD)");
  return Unit{};
}

}  // namespace

Result<Waiter> Waiter::create(Driver& driver, const Clock& clock, WaiterTuning tuning) {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return Error::last("epoll_create1");
  for (const int fd : driver.wait_fds()) HPCVMM_CHECK_OK(epoll_add(epoll.get(), fd, kDriverTag));
  return Waiter(driver, clock, tuning, std::move(epoll));
}

Status Waiter::add(int fd, std::uint64_t tag) {
  if (tag == kDriverTag) return Error::of(EINVAL, "Waiter::add: this tag is taken");
  return epoll_add(epoll_.get(), fd, tag);
}

Status Waiter::remove(int fd) {
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr) != 0)
    return Error::last("epoll_ctl(EPOLL_CTL_DEL)");
  return Unit{};
}

bool Waiter::idle() {
  ++counters_.spins;
  if (empty_polls_++ == 0) empty_since_ = clock_->now();
  if (spin_ == 0 || !may_spin_) return true;
  // The clock costs more than a poll of an empty ring: it is read now and then.
  const bool look = empty_polls_ % 16 == 0;
  if (empty_polls_ > tuning_.spin_polls || (look && clock_->now() - empty_since_ > spin_)) return true;
  // No sched_yield(): since Linux 6.6's scheduler it puts the thread behind everybody who is runnable,
  // whatever its precedence, and on a busy machine that is hundreds of milliseconds.
  __builtin_ia32_pause();
  return false;
}

void Waiter::learn(Nanos waited) {
  if (waited > tuning_.spin_time)
    spin_ = spin_ > tuning_.least_spin ? spin_ / 2 : 0;
  else
    spin_ = std::min(std::max(tuning_.least_spin, spin_ * 2), tuning_.spin_time);
}

std::span<const std::uint64_t> Waiter::block(Nanos deadline) {
  tags_.clear();
  const Nanos now = clock_->now();
  const Nanos left = deadline > now ? deadline - now : 0;
  timespec timeout{};
  timeout.tv_sec = static_cast<time_t>(std::min<Nanos>(left / kSecond, 3600));
  timeout.tv_nsec = static_cast<long>(left % kSecond);
  if (!driver_->prepare_sleep()) {
    if (empty_polls_ != 0) learn(now - empty_since_);
    empty_polls_ = 0;
    return {};
  }
  ++counters_.blocks;
  std::array<epoll_event, kEvents> events{};
  const int n = ::epoll_pwait2(epoll_.get(), events.data(), kEvents, &timeout, nullptr);
  driver_->finish_sleep();
  // A timer that ran out alone is no reason to spin again: what it is for is done in one pass.
  if (n > 0) {
    if (empty_polls_ != 0) learn(clock_->now() - empty_since_);
    empty_polls_ = 0;
  }
  for (int i = 0; i < n; ++i) {
    const auto& event = events[static_cast<std::size_t>(i)];
    if (event.data.u64 != kDriverTag) tags_.push_back(event.data.u64);
  }
  return tags_;
}

}  // namespace hpcvmm::net
