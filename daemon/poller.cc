#include "daemon/poller.hh"

#include <sys/epoll.h>

#include <array>
#include <utility>

namespace hpcvmm::daemon {

Result<Poller> Poller::create() {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return Error::last("epoll_create1");
  return Poller(std::move(epoll));
}

Result<Poller::Id> Poller::add(int fd, std::uint32_t events, Callback callback) {
  const Id id = next_++;
  epoll_event event{};
  event.events = events;
  event.data.u64 = id;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return Error::last("epoll_ctl add");
  entries_.emplace(id, Entry{fd, std::move(callback)});
  return id;
}

Status Poller::change(Id id, std::uint32_t events) {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return Error::of(ENOENT, "change a watched descriptor");
  epoll_event event{};
  event.events = events;
  event.data.u64 = id;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, found->second.fd, &event) != 0)
    return Error::last("epoll_ctl mod");
  return Unit{};
}

void Poller::remove(Id id) {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, found->second.fd, nullptr);
  entries_.erase(found);
}

int Poller::run(int timeout_ms) {
  std::array<epoll_event, 64> events{};
  const int n = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), timeout_ms);
  for (int i = 0; i < n; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    const auto found = entries_.find(event.data.u64);
    if (found == entries_.end()) continue;  // removed by a callback of this round
    // A copy: the callback may remove itself.
    const Callback callback = found->second.callback;
    callback(event.events);
  }
  return n > 0 ? n : 0;
}

}  // namespace hpcvmm::daemon
