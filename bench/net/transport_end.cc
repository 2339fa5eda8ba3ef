#include "bench/net/transport_end.hh"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <memory>

namespace hpcvmm::bench {
namespace {

using net::kMillisecond;
using net::kSecond;
using net::Nanos;
using net::Priority;

constexpr Nanos kOver = 300 * kMillisecond;
constexpr Nanos kConnect = 10 * kSecond;
constexpr std::uint32_t kQuestionBytes = 48;

const net::SystemClock kClock;

double seconds_of(Nanos nanos) { return static_cast<double>(nanos) / 1e9; }

/// One node with one peer; counts what comes.
class End final : public net::Handler {
 public:
  End(net::Driver& driver, net::Waiter& waiter, const TransportEnd& config)
      : waiter_(&waiter), config_(&config) {
    net::Config c;
    c.node = config.sender ? 1 : 2;
    c.key.fill(0x33);
    c.protection = config.protection;
    auto made = net::Transport::create(c, driver, kClock, *this);
    if (!made) {
      std::fprintf(stderr, "hpc-vmm-net-transport: %s\n", made.error().op);
      return;
    }
    transport_ = *std::move(made);
    good_ = static_cast<bool>(transport_->add_peer(peer(), config.end.peer));
  }
  ~End() override {
    if (transport_ && config_->verbose) report();
  }
  End(const End&) = delete;
  End& operator=(const End&) = delete;

  [[nodiscard]] net::NodeId peer() const { return config_->sender ? 2 : 1; }
  net::Transport& transport() { return *transport_; }
  /// False: the peer did not come up.
  bool connect() {
    const Nanos begin = kClock.now();
    while (good_ && !up_ && kClock.now() < begin + kConnect) pass(begin + kConnect);
    return up_;
  }
  /// One pass of the loop; sleeps when there is nothing to do.
  void pass(Nanos until) {
    const Nanos deadline = transport_->poll();
    if (transport_->worked()) return waiter_->busy();
    if (waiter_->idle()) waiter_->block(std::min(deadline, until));
  }

  Nanos first = 0;
  Nanos last = 0;
  double cpu_at_first = 0;
  std::uint64_t pages = 0;
  std::uint64_t questions = 0;
  std::uint64_t released = 0;
  bool up_ = false;
  bool was_up = false;

  net::Take on_message(const net::Message& m) override {
    if (m.bytes.size() == kPageBytes) {
      std::memcpy(memory_.next(), m.bytes.data(), kPageBytes);
      ++pages;
    } else {
      ++questions;
    }
    if (first == 0) {
      first = kClock.now();
      cpu_at_first = cpu_seconds();
    }
    heard_ = true;
    return net::Take::Done;
  }
  void on_peer_up(net::NodeId, std::uint64_t, std::uint64_t) override { up_ = was_up = true; }
  void on_peer_down(net::NodeId, net::DownReason) override { up_ = false; }
  void on_released(std::uint64_t) override { ++released; }

  /// Whether the other end has stopped for good.
  bool over() {
    const Nanos now = kClock.now();
    if (heard_) last = now;
    heard_ = false;
    return (first != 0 && now > last + kOver) || (was_up && !up_);
  }
  void fill(Figures& f) const {
    f.pages = std::max(pages, questions);
    f.seconds = seconds_of(last - first);
    if (first != 0) f.cpu = (cpu_seconds() - cpu_at_first) / seconds_of(kClock.now() - first);
  }

 private:
  void report() const {
    const net::PeerStats p = *transport_->peer_stats(peer());
    std::fprintf(
        stderr,
        "node %u: srtt %lu us, least %lu us, window %lu, payload %u, lost %lu, spurious %lu, timeouts %lu, "
        "resent %lu, tx %lu, rx %lu, stalls %lu, %s; blocks %lu\n",
        config_->sender ? 1U : 2U, p.srtt / 1000, p.min_rtt / 1000, p.congestion_window, p.payload,
        p.lost_packets, p.spurious_losses, p.probe_timeouts, p.resent_bytes, p.tx_packets, p.rx_packets,
        p.window_stalls, p.cipher.data(), waiter_->counters().blocks);
  }

  net::Waiter* waiter_;
  const TransportEnd* config_;
  Memory memory_;
  bool good_ = false;
  bool heard_ = false;
  std::unique_ptr<net::Transport> transport_;
};

}  // namespace

Figures transport_send(net::Driver& driver, net::Waiter& waiter, const TransportEnd& config) {
  Memory memory;
  End end(driver, waiter, config);
  Figures figures;
  if (!end.connect()) return figures;
  const double cpu = cpu_seconds();
  const Nanos begin = kClock.now();
  const Nanos stop = begin + static_cast<Nanos>(config.end.seconds * 1e9);
  std::uint64_t sent = 0;
  while (kClock.now() < stop && end.up_) {
    for (int i = 0; i < 64; ++i) {
      const net::Part page(memory.next(), kPageBytes);
      if (!end.transport().send_borrowed(end.peer(), 1, Priority::Bulk, {&page, 1}, 0)) break;
      ++sent;
    }
    end.pass(stop);
  }
  figures.pages = end.released;
  figures.seconds = seconds_of(kClock.now() - begin);
  figures.cpu = (cpu_seconds() - cpu) / figures.seconds;
  return figures;
}

Figures transport_receive(net::Driver& driver, net::Waiter& waiter, const TransportEnd& config) {
  End end(driver, waiter, config);
  Figures figures;
  if (!end.connect()) return figures;
  while (!end.over()) end.pass(kClock.now() + kOver);
  end.fill(figures);
  return figures;
}

Figures transport_ask(net::Driver& driver, net::Waiter& waiter, const TransportEnd& config) {
  End end(driver, waiter, config);
  Figures figures;
  if (!end.connect()) return figures;
  std::vector<double> times;
  const double cpu = cpu_seconds();
  const Nanos begin = kClock.now();
  const Nanos stop = begin + static_cast<Nanos>(config.end.seconds * 1e9);
  const std::array<std::byte, kQuestionBytes> question{};
  for (Nanos now = begin; now < stop && end.up_; now = kClock.now()) {
    const std::uint64_t before = end.pages;
    if (!end.transport().send(end.peer(), 1, Priority::Fault, net::Part(question))) break;
    while (end.pages == before && end.up_) end.pass(now + kSecond);
    times.push_back(static_cast<double>(kClock.now() - now) / 1e3);
  }
  figures.pages = times.size();
  figures.seconds = seconds_of(kClock.now() - begin);
  figures.cpu = (cpu_seconds() - cpu) / figures.seconds;
  if (times.empty()) return figures;
  std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
  figures.median_us = times[times.size() / 2];
  return figures;
}

Figures transport_answer(net::Driver& driver, net::Waiter& waiter, const TransportEnd& config) {
  Memory memory;
  End end(driver, waiter, config);
  Figures figures;
  if (!end.connect()) return figures;
  std::uint64_t answered = 0;
  while (!end.over()) {
    for (; answered < end.questions && end.up_; ++answered) {
      const net::Part page(memory.next(), kPageBytes);
      if (!end.transport().send_borrowed(end.peer(), 1, Priority::Fault, {&page, 1}, 0)) break;
    }
    end.pass(kClock.now() + kOver);
  }
  end.fill(figures);
  return figures;
}

}  // namespace hpcvmm::bench
