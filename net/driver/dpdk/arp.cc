// How a DPDK driver finds the station behind an address.
#include <rte_mbuf.h>

#include <algorithm>
#include <cstring>

#include "net/driver/dpdk/driver_impl.hh"

namespace hpcvmm::net::dpdk {
namespace {

/// A peer that is asked for its address for the first time answers within microseconds: what is sent
/// meanwhile waits.
constexpr std::size_t kMaxHeld = 64;
constexpr Nanos kHoldFor = 1 * kSecond;
/// A route is looked up again in the neighbours' table after this.
constexpr Nanos kRouteCheck = 1 * kSecond;
/// An answer to a datagram of a stranger makes a route: they are bounded.
constexpr std::size_t kMaxRoutes = 4096;

}  // namespace

DpdkDriver::Route* DpdkDriver::find_route(const Address& to) {
  if (last_route_ != nullptr && to == last_to_) return last_route_;
  auto it = routes_.find(to);
  if (it == routes_.end()) {
    if (!to.is_v4()) return nullptr;
    const std::uint32_t ip = to.v4();
    Route route;
    route.target_port = to.port;
    route.target_ip = ip;
    if (const auto peer = peers_.find(ip); peer != peers_.end()) {
      route.line = peer->second;
      route.resolved = true;
      route.check_at = kNever;
      set_next_hop(route, mac_of(ip));
    } else if (net_ != nullptr) {
      const std::uint32_t mask =
          config_.prefix_bits == 0 ? 0 : ~std::uint32_t{0} << (32 - config_.prefix_bits);
      const bool is_near = ((ip ^ config_.address.v4()) & mask) == 0;
      if (!is_near && !config_.gateway) return nullptr;
      route.line = net_;
      route.next_hop = is_near ? ip : *config_.gateway;
    } else {
      return nullptr;
    }
    if (routes_.size() >= kMaxRoutes) {
      routes_.clear();
      last_route_ = nullptr;
    }
    it = routes_.emplace(to, route).first;
  }
  last_to_ = to;
  last_route_ = &it->second;  // elements of an unordered_map do not move
  return last_route_;
}

void DpdkDriver::set_next_hop(Route& route, const Mac& mac) {
  const Station& us = route.line->us;
  route.headers = HeaderTemplate({.source_mac = us.mac,
                                  .target_mac = mac,
                                  .source_ip = us.ip,
                                  .target_ip = route.target_ip,
                                  .source_port = us.port,
                                  .target_port = route.target_port});
}

bool DpdkDriver::resolve(Route& route, Nanos now) {
  if (now < route.check_at) return route.resolved;
  const Neighbours::Answer answer = neighbours_.find(route.next_hop, now);
  if (answer.ask) ask(*route.line, route.next_hop, answer.mac.value_or(kBroadcast));
  route.resolved = answer.mac.has_value();
  route.check_at = now + (route.resolved ? kRouteCheck : kAskAgain);
  if (route.resolved) set_next_hop(route, *answer.mac);
  return route.resolved;
}

void DpdkDriver::ask(Line& line, std::uint32_t ip, const Mac& to) {
  ++drops_.arp_asked;
  send_arp(line, {.is_request = true, .sender_mac = line.us.mac, .sender_ip = line.us.ip, .target_ip = ip},
           to);
}

void DpdkDriver::send_arp(Line& line, const Arp& message, const Mac& to) {
  rte_mbuf* mbuf = rte_pktmbuf_alloc(transmit_pool_.get());
  if (mbuf == nullptr) return;
  const auto frame = build_arp(message, to);
  std::memcpy(rte_pktmbuf_mtod(mbuf, void*), frame.data(), frame.size());
  mbuf->data_len = static_cast<std::uint16_t>(frame.size());
  mbuf->pkt_len = static_cast<std::uint32_t>(frame.size());
  if (line.port->send({&mbuf, 1}) == 0) rte_pktmbuf_free(mbuf);
}

void DpdkDriver::on_arp(Line& line, std::span<const std::byte> frame) {
  const auto message = parse_arp(frame);
  if (!message || &line != net_) {
    ++drops_.bad_arp;
    return;
  }
  // Somebody else's claim to be us is answered like a question for us, and not believed.
  if (message->sender_ip == line.us.ip) return;
  const bool for_us = message->target_ip == line.us.ip;
  if (neighbours_.learn(message->sender_ip, message->sender_mac, for_us, clock_.now()))
    flush_held(message->sender_ip, message->sender_mac);
  if (!for_us || !message->is_request) return;
  ++drops_.arp_answered;
  send_arp(line, {.sender_mac = line.us.mac, .sender_ip = line.us.ip, .target_ip = message->sender_ip},
           message->sender_mac);
}

void DpdkDriver::hold(Route& route, std::span<TxPacket> packets, Nanos now) {
  set_next_hop(route, Mac{});
  for (TxPacket& packet : packets) {
    if (held_.size() >= kMaxHeld) {
      drop({&packet, 1}, drops_.unresolved);
      continue;
    }
    held_.push_back({.mbuf = build_frame(route, packet), .next_hop = route.next_hop, .since = now});
    packet = {};
  }
}

void DpdkDriver::flush_held(std::uint32_t next_hop, const Mac& mac) {
  for (auto& [address, route] : routes_) {
    if (route.line != net_ || route.next_hop != next_hop) continue;
    set_next_hop(route, mac);
    route.resolved = true;
    route.check_at = clock_.now() + kRouteCheck;
  }
  for (Held& held : held_) {
    if (held.next_hop != next_hop) continue;
    std::memcpy(rte_pktmbuf_mtod(held.mbuf, void*), mac.data(), mac.size());
    if (net_->port->send({&held.mbuf, 1}) == 0) rte_pktmbuf_free(held.mbuf);
    held.mbuf = nullptr;
  }
  std::erase_if(held_, [](const Held& held) { return held.mbuf == nullptr; });
}

void DpdkDriver::expire_held(Nanos now) {
  for (Held& held : held_) {
    if (now - held.since < kHoldFor) continue;
    ++drops_.unresolved;
    ++counters_.tx_errors;
    rte_pktmbuf_free(held.mbuf);
    held.mbuf = nullptr;
  }
  std::erase_if(held_, [](const Held& held) { return held.mbuf == nullptr; });
}

}  // namespace hpcvmm::net::dpdk
