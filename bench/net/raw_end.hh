// One end of a raw measurement: pages over a datagram driver, or over a kernel TCP stream, with nothing above
// it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "net/driver/driver.hh"
#include "net/driver/waiter.hh"

namespace hpcvmm::bench {

inline constexpr std::size_t kPageBytes = 4096;

/// Pages of a process far larger than the caches: each page is copied from, or to, somewhere else in 64 MiB.
class Memory {
 public:
  Memory() : bytes_(kPages * kPageBytes, std::byte{1}) {}
  [[nodiscard]] std::byte* next() {
    at_ = (at_ + kStride) % kPages;
    return bytes_.data() + at_ * kPageBytes;
  }

 private:
  static constexpr std::size_t kPages = 16384;
  static constexpr std::size_t kStride =
      7919;  // a prime: visits all of them in an order no prefetcher follows
  std::vector<std::byte> bytes_;
  std::size_t at_ = 0;
};

/// What an end has measured.
struct Figures {
  std::uint64_t pages = 0;
  double seconds = 0;
  double median_us = 0;  ///< of round trips
  double cpu = 0;        ///< of one core, 0 to 1
  std::uint64_t lost = 0;
};

/// CPU time of this process so far.
double cpu_seconds();

struct EndConfig {
  net::Address peer;
  double seconds = 1;
};

/// Sends pages as fast as they are taken, for `seconds`.
Figures send_pages(net::Driver& driver, net::Waiter& waiter, const EndConfig& config);
/// Copies arriving pages out, until nothing has come for 0.3 s after the first.
Figures receive_pages(net::Driver& driver, net::Waiter& waiter, const EndConfig& config);
/// Asks for a page with a short datagram and waits for it, for `seconds`.
Figures ask_pages(net::Driver& driver, net::Waiter& waiter, const EndConfig& config);
/// Answers, until nothing has been asked for 0.3 s after the first question.
Figures answer_pages(net::Driver& driver, net::Waiter& waiter, const EndConfig& config);

/// The same two directions over one kernel TCP connection; the receiver listens at `at`.
Figures tcp_send(const net::Address& to, double seconds);
Figures tcp_receive(const net::Address& at);

}  // namespace hpcvmm::bench
