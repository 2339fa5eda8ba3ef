// The paths of a packet through a DPDK driver.
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "net/driver/dpdk/driver_impl.hh"
#include "net/driver/dpdk/eal.hh"

namespace hpcvmm::net::dpdk {
namespace {

/// A port that has taken nothing for this long loses what is sent to it: a peer that is stopped must not hold
/// up what goes to the others.
constexpr Nanos kStuck = 50 * kMillisecond;
/// Receive calls between two looks at the clock.
constexpr unsigned kPollsPerTend = 256;
constexpr Nanos kTendEvery = 50 * kMillisecond;
/// When a full port without a doorbell is tried again, and one that cannot wake us is looked at.
constexpr Nanos kRetry = 500 * kMicrosecond;
constexpr Nanos kBlindPoll = 1 * kMillisecond;
/// Fewer free buffers than a PMD takes at once (memif: 32), and it shows nothing of what has arrived.
constexpr unsigned kLeastBuffers = 64;

rte_mbuf* mbuf_of(const TxPacket& packet) { return static_cast<rte_mbuf*>(packet.handle); }

}  // namespace

DpdkDriver::~DpdkDriver() {
  for (std::size_t i = early_begin_; i < early_end_; ++i)
    rte_pktmbuf_free(static_cast<rte_mbuf*>(early_[i].handle));
  for (const Held& held : held_) rte_pktmbuf_free(held.mbuf);
  for (auto& line : lines_) line->port.reset();
}

std::size_t DpdkDriver::alloc(std::span<TxPacket> out) {
  register_thread();
  std::array<rte_mbuf*, kMaxBurst> mbufs;
  std::size_t wanted = std::min(out.size(), kMaxBurst);
  // In bulk or not at all: near the end of the pool, one by one.
  while (wanted != 0 &&
         rte_pktmbuf_alloc_bulk(transmit_pool_.get(), mbufs.data(), static_cast<unsigned>(wanted)) != 0)
    wanted /= 2;
  for (std::size_t i = 0; i < wanted; ++i)
    out[i] = {.data = rte_pktmbuf_mtod_offset(mbufs[i], std::byte*, kHeaderBytes),
              .room = max_payload_,
              .bytes = 0,
              .handle = mbufs[i]};
  if (wanted < out.size()) ++counters_.tx_busy;
  return wanted;
}

void DpdkDriver::free(std::span<TxPacket> packets) {
  for (TxPacket& packet : packets) {
    rte_pktmbuf_free(mbuf_of(packet));
    packet = {};
  }
}

void DpdkDriver::drop(std::span<TxPacket> packets, std::uint64_t& counter) {
  counter += packets.size();
  counters_.tx_errors += packets.size();
  free(packets);
}

rte_mbuf* DpdkDriver::build_frame(const Route& route, const TxPacket& packet) {
  rte_mbuf* const mbuf = mbuf_of(packet);
  std::byte* const at = rte_pktmbuf_mtod(mbuf, std::byte*);
  route.headers.stamp(at, packet.bytes);
  auto frame = static_cast<std::uint32_t>(packet.bytes + kHeaderBytes);
  if (frame < kMinFrameBytes) {
    std::memset(at + frame, 0, kMinFrameBytes - frame);
    frame = kMinFrameBytes;
  }
  mbuf->data_len = static_cast<std::uint16_t>(frame);
  mbuf->pkt_len = frame;
  return mbuf;
}

std::size_t DpdkDriver::send(const Address& to, std::span<TxPacket> packets) {
  packets = packets.first(std::min(packets.size(), kMaxBurst));
  if (packets.empty()) return 0;
  Route* const route = find_route(to);
  const auto accept = [&](std::size_t count) {
    counters_.tx_packets += count;
    return count;
  };
  const auto refuse = [&](std::uint64_t& counter) {
    drop(packets, counter);
    return accept(packets.size());
  };
  const auto too_long = std::find_if(packets.begin(), packets.end(),
                                     [this](const TxPacket& packet) { return packet.bytes > max_payload_; });
  if (too_long == packets.begin()) {
    packets = packets.first(1);
    return refuse(drops_.too_long);
  }
  packets = packets.first(static_cast<std::size_t>(too_long - packets.begin()));
  if (route == nullptr) return refuse(drops_.no_route);
  if (!route->line->port->is_up()) return refuse(drops_.link_down);
  if (route->check_at != kNever) {
    const Nanos now = clock_.now();
    if (!resolve(*route, now)) {
      hold(*route, packets, now);
      return accept(packets.size());
    }
  }
  std::array<rte_mbuf*, kMaxBurst> mbufs;
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < packets.size(); ++i) {
    mbufs[i] = build_frame(*route, packets[i]);
    bytes += packets[i].bytes;
  }
  const std::size_t sent = transmit(*route->line, {mbufs.data(), packets.size()});
  for (std::size_t i = sent; i < packets.size(); ++i) bytes -= packets[i].bytes;
  counters_.tx_bytes += bytes;
  return accept(sent);
}

std::size_t DpdkDriver::transmit(Line& line, std::span<rte_mbuf*> mbufs) {
  const std::size_t sent = line.port->send(mbufs);
  if (sent == mbufs.size()) {
    line.full_since = 0;
    return sent;
  }
  ++counters_.tx_busy;
  transmit_was_full_ = true;
  const Nanos now = clock_.now();
  if (sent != 0 || line.full_since == 0) line.full_since = now;
  if (now - line.full_since < kStuck) return sent;
  drops_.stuck += mbufs.size() - sent;
  counters_.tx_errors += mbufs.size() - sent;
  for (rte_mbuf* mbuf : mbufs.subspan(sent)) rte_pktmbuf_free(mbuf);
  return mbufs.size();
}

std::size_t DpdkDriver::take(Line& line, std::span<rte_mbuf*> mbufs, std::span<RxPacket> out) {
  std::size_t taken = 0;
  for (rte_mbuf* mbuf : mbufs) {
    auto* const at = rte_pktmbuf_mtod(mbuf, std::byte*);
    const std::span<const std::byte> frame(at, mbuf->data_len);
    const Parsed parsed = parse_frame(frame, line.us);
    if (mbuf->nb_segs != 1) {
      ++drops_.chained;
      ++counters_.rx_errors;
    } else if (parsed.is_arp) {
      on_arp(line, frame);
    } else if (parsed.refusal != Refusal::None) {
      ++drops_.refused[static_cast<std::size_t>(parsed.refusal)];
      if (is_damage(parsed.refusal)) ++counters_.rx_errors;
    } else {
      const Datagram& datagram = parsed.datagram;
      out[taken++] = {.data = at + datagram.offset,
                      .bytes = datagram.bytes,
                      .from = Address::from_v4(datagram.source_ip, datagram.source_port),
                      .handle = mbuf};
      counters_.rx_bytes += datagram.bytes;
      continue;
    }
    rte_pktmbuf_free(mbuf);
  }
  counters_.rx_packets += taken;
  return taken;
}

/// One burst of each port, a different one first each time.  Whether any had a frame.
bool DpdkDriver::poll_ports(std::span<RxPacket> out, std::size_t& filled) {
  bool any = false;
  const std::size_t count = lines_.size();
  if (++first_line_ >= count) first_line_ = 0;
  for (std::size_t i = 0; i < count && filled < out.size(); ++i) {
    Line& line = *lines_[(first_line_ + i) % count];
    std::array<rte_mbuf*, kMaxBurst> mbufs;
    const std::size_t n = line.port->receive({mbufs.data(), std::min(out.size() - filled, mbufs.size())});
    if (n == 0) continue;
    any = true;
    filled += take(line, {mbufs.data(), n}, out.subspan(filled));
  }
  return any;
}

std::size_t DpdkDriver::receive(std::span<RxPacket> out) {
  register_thread();
  if (++polls_ >= kPollsPerTend || tend_at_ == 0) tend();
  std::size_t filled = 0;
  while (early_begin_ < early_end_ && filled < out.size()) out[filled++] = early_[early_begin_++];
  poll_ports(out, filled);
  return filled;
}

void DpdkDriver::release(std::span<RxPacket> packets) {
  std::array<rte_mbuf*, kMaxBurst> mbufs;
  while (!packets.empty()) {
    const std::size_t n = std::min(packets.size(), mbufs.size());
    for (std::size_t i = 0; i < n; ++i) mbufs[i] = static_cast<rte_mbuf*>(packets[i].handle);
    rte_pktmbuf_free_bulk(mbufs.data(), static_cast<unsigned>(n));
    packets = packets.subspan(n);
  }
}

Nanos DpdkDriver::tend(Line& line, Nanos now) {
  const bool was_told = line.port->counters().mismatches != 0;
  const Nanos again = line.port->tend(now);
  if (!was_told && line.port->counters().mismatches != 0 && config_.warn)
    config_.warn("port " + line.port->config().device +
                 ": not used: the other end has another bsize; give both ends the same");
  return again;
}

/// Links and what waits for ARP.
void DpdkDriver::tend() {
  polls_ = 0;
  const Nanos now = clock_.now();
  if (now < tend_at_) return;
  tend_at_ = now + kTendEvery;
  for (auto& line : lines_) tend_at_ = std::min(tend_at_, tend(*line, now));
  if (held_.empty()) return;
  expire_held(now);
  for (auto& [address, route] : routes_)
    if (!route.resolved) resolve(route, now);
}

bool DpdkDriver::prepare_sleep() {
  if (early_begin_ < early_end_) return false;
  const Nanos now = clock_.now();
  Nanos wake_at = kNever;
  for (auto& line : lines_) {
    Port& port = *line->port;
    wake_at = std::min(wake_at, tend(*line, now));
    port.arm();
    if (port.wait_fds().empty()) wake_at = std::min(wake_at, now + kBlindPoll);
    // What the threads' caches hold is counted only if it matters: that takes a look at each of them.
    if (rte_mempool_ops_get_count(line->pool.get()) < kLeastBuffers &&
        rte_mempool_avail_count(line->pool.get()) < kLeastBuffers)
      wake_at = std::min(wake_at, now + kBlindPoll);
  }
  if (transmit_was_full_) wake_at = std::min(wake_at, now + kRetry);
  if (!held_.empty()) wake_at = std::min(wake_at, now + kAskAgain);
  transmit_was_full_ = false;
  early_begin_ = early_end_ = 0;
  // Armed first, looked second: what arrives in between is seen by one of the two.
  if (poll_ports(early_, early_end_)) {
    for (auto& line : lines_) line->port->disarm();
    tend_at_ = 0;
    return false;
  }
  if (wake_at == kNever && !timer_is_set_) return true;
  itimerspec when{};
  const Nanos delay = wake_at == kNever ? 0 : std::max<Nanos>(wake_at - now, 1);
  when.it_value.tv_sec = static_cast<time_t>(delay / kSecond);
  when.it_value.tv_nsec = static_cast<long>(delay % kSecond);
  ::timerfd_settime(timer_.get(), 0, &when, nullptr);
  timer_is_set_ = wake_at != kNever;
  return true;
}

void DpdkDriver::finish_sleep() {
  for (auto& line : lines_) line->port->disarm();
  tend_at_ = 0;
  if (!timer_is_set_) return;
  // Emptied, not stopped: it is set anew, or stopped, by the next sleep.
  std::uint64_t count = 0;
  static_cast<void>(::read(timer_.get(), &count, sizeof count));
}

void DpdkDriver::more_counters(const std::function<void(std::string_view, std::uint64_t)>& each) const {
  for (std::size_t i = 1; i < drops_.refused.size(); ++i)
    each(std::string("rx_") + refusal_name(static_cast<Refusal>(i)), drops_.refused[i]);
  each("rx_chained", drops_.chained);
  each("rx_bad_arp", drops_.bad_arp);
  each("tx_no_route", drops_.no_route);
  each("tx_unresolved", drops_.unresolved);
  each("tx_link_down", drops_.link_down);
  each("tx_stuck", drops_.stuck);
  each("tx_too_long", drops_.too_long);
  each("arp_asked", drops_.arp_asked);
  each("arp_answered", drops_.arp_answered);
  for (const auto& line : lines_) {
    const std::string prefix = line->port->config().device + "_";
    rte_eth_stats stats{};
    if (rte_eth_stats_get(line->port->id(), &stats) == 0) {
      each(prefix + "rx_missed", stats.imissed);
      each(prefix + "rx_no_buffer", stats.rx_nombuf);
      each(prefix + "tx_errors", stats.oerrors);
    }
    each(prefix + "up", line->port->is_up() ? 1 : 0);
    each(prefix + "link_ups", line->port->counters().ups);
    each(prefix + "reconnects", line->port->counters().reconnects);
    each(prefix + "buffer_mismatches", line->port->counters().mismatches);
  }
}

}  // namespace hpcvmm::net::dpdk
