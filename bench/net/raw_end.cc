#include "bench/net/raw_end.hh"

#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace hpcvmm::bench {
namespace {

using net::kMillisecond;
using net::Nanos;

constexpr Nanos kOver = 300 * kMillisecond;
constexpr std::size_t kBurst = 32;
constexpr std::uint32_t kQuestionBytes = 64;
constexpr Nanos kGiveUp = 100 * kMillisecond;  // on one answer

const net::SystemClock kClock;

double seconds_of(Nanos nanos) { return static_cast<double>(nanos) / 1e9; }

void rest(net::Waiter& waiter, bool was_busy, Nanos deadline) {
  if (was_busy) return waiter.busy();
  if (waiter.idle()) waiter.block(deadline);
}

/// Calls `each` for all that has arrived; how many those were.
template <class Each> std::size_t drain(net::Driver& driver, Each each) {
  std::array<net::RxPacket, net::kMaxBurst> packets;
  const std::size_t n = driver.receive(packets);
  for (std::size_t i = 0; i < n; ++i) each(packets[i]);
  driver.release({packets.data(), n});
  return n;
}

/// One datagram; false if there is no room now.
bool send_one(net::Driver& driver, const net::Address& to, const std::byte* data, std::uint32_t bytes) {
  std::array<net::TxPacket, 1> packet;
  if (driver.alloc(packet) == 0) return false;
  std::memcpy(packet[0].data, data, bytes);
  packet[0].bytes = bytes;
  if (driver.send(to, packet) == 1) return true;
  driver.free(packet);
  return false;
}

struct Span {  // when something happened, first and last
  Nanos first = 0;
  Nanos last = 0;
  double cpu_at_first = 0;
  void touch(Nanos now) {
    if (first == 0) {
      first = now;
      cpu_at_first = cpu_seconds();
    }
    last = now;
  }
  [[nodiscard]] bool is_over(Nanos now) const { return first != 0 && now - last > kOver; }
  void fill(Figures& figures) const {
    figures.seconds = seconds_of(last - first);
    if (figures.seconds > 0) figures.cpu = (cpu_seconds() - cpu_at_first) / seconds_of(kClock.now() - first);
  }
};

/// For the end that decides how long it takes.
void end_span(Figures& figures, Nanos begin, double cpu) {
  figures.seconds = seconds_of(kClock.now() - begin);
  figures.cpu = (cpu_seconds() - cpu) / figures.seconds;
}

}  // namespace

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

Figures send_pages(net::Driver& driver, net::Waiter& waiter, const EndConfig& config) {
  Memory memory;
  Figures figures;
  const double cpu = cpu_seconds();
  const Nanos begin = kClock.now();
  const Nanos end = begin + static_cast<Nanos>(config.seconds * 1e9);
  while (kClock.now() < end) {
    std::array<net::TxPacket, kBurst> packets;
    const std::size_t n = driver.alloc(packets);
    for (std::size_t i = 0; i < n; ++i) {
      std::memcpy(packets[i].data, memory.next(), kPageBytes);
      packets[i].bytes = kPageBytes;
    }
    std::size_t sent = 0;
    // What was copied is sent, not copied again: a full device must not be charged with our copies.
    while (sent < n && kClock.now() < end) {
      const std::size_t now_sent = driver.send(config.peer, {packets.data() + sent, n - sent});
      sent += now_sent;
      drain(driver, [](const net::RxPacket&) {});
      if (sent < n) rest(waiter, now_sent != 0, end);
    }
    driver.free({packets.data() + sent, n - sent});
    figures.pages += sent;
    rest(waiter, sent != 0, end);
  }
  end_span(figures, begin, cpu);
  return figures;
}

Figures receive_pages(net::Driver& driver, net::Waiter& waiter, const EndConfig&) {
  Memory memory;
  Figures figures;
  Span span;
  for (;;) {
    const std::size_t n = drain(driver, [&](const net::RxPacket& packet) {
      if (packet.bytes == kPageBytes) std::memcpy(memory.next(), packet.data, kPageBytes);
    });
    const Nanos now = kClock.now();
    figures.pages += n;
    if (n != 0) span.touch(now);
    if (span.is_over(now)) break;
    rest(waiter, n != 0, now + kOver);
  }
  span.fill(figures);
  return figures;
}

Figures ask_pages(net::Driver& driver, net::Waiter& waiter, const EndConfig& config) {
  Memory memory;
  Figures figures;
  std::vector<double> times;
  const double cpu = cpu_seconds();
  const Nanos begin = kClock.now();
  const Nanos end = begin + static_cast<Nanos>(config.seconds * 1e9);
  const std::array<std::byte, kQuestionBytes> question{};
  for (Nanos now = begin; now < end; now = kClock.now()) {
    if (!send_one(driver, config.peer, question.data(), kQuestionBytes)) {
      drain(driver, [](const net::RxPacket&) {});
      rest(waiter, false, end);
      continue;
    }
    bool answered = false;
    while (!answered && kClock.now() < now + kGiveUp) {
      drain(driver, [&](const net::RxPacket& packet) {
        if (packet.bytes != kPageBytes) return;
        std::memcpy(memory.next(), packet.data, kPageBytes);
        answered = true;
      });
      rest(waiter, answered, now + kGiveUp);
    }
    if (answered)
      times.push_back(static_cast<double>(kClock.now() - now) / 1e3);
    else
      ++figures.lost;
  }
  figures.pages = times.size();
  end_span(figures, begin, cpu);
  if (times.empty()) return figures;
  std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
  figures.median_us = times[times.size() / 2];
  return figures;
}

Figures answer_pages(net::Driver& driver, net::Waiter& waiter, const EndConfig&) {
  Memory memory;
  Figures figures;
  Span span;
  for (;;) {
    const std::size_t n = drain(driver, [&](const net::RxPacket& packet) {
      send_one(driver, packet.from, memory.next(), kPageBytes);
    });
    const Nanos now = kClock.now();
    figures.pages += n;
    if (n != 0) span.touch(now);
    if (span.is_over(now)) break;
    rest(waiter, n != 0, now + kOver);
  }
  span.fill(figures);
  return figures;
}

}  // namespace hpcvmm::bench
