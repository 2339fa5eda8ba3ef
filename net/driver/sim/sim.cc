#include "net/driver/sim/sim.hh"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace hpcvmm::net {
namespace {

// Bytes of Ethernet, IP and UDP around a payload, which take their time on the line too.
constexpr std::uint64_t kFraming = 66;

}  // namespace

std::unique_ptr<SimDriver> SimNetwork::attach(const Address& address, std::uint32_t max_payload,
                                              SimSkew skew) {
  auto driver = std::make_unique<SimDriver>(*this, address, max_payload, skew);
  nodes_[address] = driver.get();
  return driver;
}

void SimNetwork::set_links(const SimLink& link) {
  defaults_ = link;
  for (auto& [pair, line] : lines_) line.link = link;
}

void SimNetwork::set_link(const Address& from, const Address& to, const SimLink& link) {
  line(from, to).link = link;
}

void SimNetwork::cut(const Address& a, const Address& b) {
  cut_.insert({a, b});
  cut_.insert({b, a});
}

void SimNetwork::heal(const Address& a, const Address& b) {
  cut_.erase({a, b});
  cut_.erase({b, a});
}

SimNetwork::Line& SimNetwork::line(const Address& from, const Address& to) {
  const auto [it, fresh] = lines_.try_emplace({from, to});
  if (fresh) it->second.link = defaults_;
  return it->second;
}

// Not std::uniform_real_distribution: its results are the library's business, and a seed must mean the same
// everywhere.
bool SimNetwork::chance(double p) {
  if (p <= 0) return false;
  return static_cast<double>(random_() >> 11) * 0x1.0p-53 < p;
}

void SimNetwork::transmit(const Address& from, const Address& to, std::span<const std::byte> bytes) {
  ++counters_.sent;
  Line& way = line(from, to);
  const SimLink& link = way.link;
  const Nanos start = std::max(now_, way.busy_until);
  const bool full = link.queue != 0 && start - now_ > link.queue;
  const bool too_long = link.mtu != 0 && bytes.size() > link.mtu;
  if (cut_.contains({from, to}) || full || too_long || chance(link.loss)) {
    ++counters_.lost;
    return;
  }
  if (link.bits_per_second != 0) {
    way.busy_until = start + (bytes.size() + kFraming) * 8 * kSecond / link.bits_per_second;
  } else {
    way.busy_until = start;
  }
  Nanos arrival = way.busy_until + link.delay;
  if (link.jitter != 0) arrival += random_() % link.jitter;
  if (chance(link.reorder)) {
    ++counters_.overtaken;
    arrival += link.reorder_delay;
  } else {
    arrival = std::max(arrival, way.last_arrival);
    way.last_arrival = arrival;
  }
  Bytes copy(bytes.begin(), bytes.end());
  if (!copy.empty() && chance(link.corrupt)) {
    ++counters_.corrupted;
    copy[random_() % copy.size()] ^= static_cast<std::byte>(1U << (random_() % 8));
  }
  if (chance(link.duplicate)) {
    ++counters_.duplicated;
    schedule(from, to, copy, arrival + random_() % (link.reorder_delay + 1));
  }
  schedule(from, to, std::move(copy), arrival);
}

void SimNetwork::schedule(const Address& from, const Address& to, Bytes bytes, Nanos when) {
  std::size_t slot = packets_.size();
  if (free_packets_.empty()) {
    packets_.emplace_back();
  } else {
    slot = free_packets_.back();
    free_packets_.pop_back();
  }
  packets_[slot] = {from, to, std::move(bytes)};
  events_.push({when, order_++, slot});
}

void SimNetwork::advance(Nanos to) {
  while (!events_.empty() && events_.top().when <= to) {
    const Event event = events_.top();
    events_.pop();
    now_ = std::max(now_, event.when);
    const Packet packet = std::move(packets_[event.slot]);
    free_packets_.push_back(event.slot);
    const auto node = nodes_.find(packet.to);
    if (node == nodes_.end()) {
      ++counters_.lost;
      continue;
    }
    ++counters_.delivered;
    node->second->arrive(packet.from, packet.bytes);
  }
  now_ = std::max(now_, to);
}

Nanos SimClock::network_time(Nanos local) const {
  if (local == kNever) return kNever;
  const Nanos begin = start_ + skew_.ahead;
  if (local <= begin) return start_;
  return start_ + static_cast<Nanos>(std::ceil(static_cast<double>(local - begin) / skew_.rate)) + 1;
}

SimDriver::SimDriver(SimNetwork& net, const Address& address, std::uint32_t max_payload, SimSkew skew)
    : net_(&net), address_(address), max_payload_(max_payload), clock_(net, skew) {}

SimDriver::~SimDriver() { net_->detach(address_); }

SimDriver::Buffer* SimDriver::take() {
  if (free_.empty()) {
    all_.push_back(std::make_unique<Buffer>());
    return all_.back().get();
  }
  Buffer* const b = free_.back();
  free_.pop_back();
  return b;
}

void SimDriver::give(void* handle) {
  free_.push_back(static_cast<Buffer*>(handle));
  --out_;
}

std::size_t SimDriver::alloc(std::span<TxPacket> out) {
  for (TxPacket& p : out) {
    Buffer* const b = take();
    b->bytes.resize(max_payload_);
    p = {b->bytes.data(), max_payload_, 0, b};
  }
  out_ += out.size();
  return out.size();
}

void SimDriver::free(std::span<TxPacket> packets) {
  for (const TxPacket& p : packets) give(p.handle);
}

std::size_t SimDriver::send(const Address& to, std::span<TxPacket> packets) {
  const std::size_t n = std::min(packets.size(), send_limit_);
  for (TxPacket& p : packets.first(n)) {
    net_->transmit(address_, to, {p.data, p.bytes});
    ++counters_.tx_packets;
    counters_.tx_bytes += p.bytes;
    give(p.handle);
  }
  if (n < packets.size()) ++counters_.tx_busy;
  return n;
}

void SimDriver::arrive(const Address& from, const std::vector<std::byte>& bytes) {
  if (arrived_.size() >= kReceiveQueue) {
    ++counters_.rx_errors;
    return;
  }
  Buffer* const b = take();
  b->from = from;
  b->bytes = bytes;
  arrived_.push(b);
}

std::size_t SimDriver::receive(std::span<RxPacket> out) {
  std::size_t n = 0;
  while (n < out.size() && !arrived_.empty()) {
    Buffer* const b = arrived_.front();
    arrived_.pop();
    out[n++] = {b->bytes.data(), static_cast<std::uint32_t>(b->bytes.size()), b->from, b};
    counters_.rx_bytes += b->bytes.size();
  }
  counters_.rx_packets += n;
  out_ += n;
  return n;
}

void SimDriver::release(std::span<RxPacket> packets) {
  for (const RxPacket& p : packets) give(p.handle);
}

}  // namespace hpcvmm::net
