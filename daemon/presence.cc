#include "daemon/presence.hh"

#include <sys/epoll.h>
#include <time.h>

#include <cerrno>
#include <cstring>

#include "daemon/log.hh"

namespace hpcvmm::daemon {

namespace discovery = net::discovery;

namespace {

constexpr std::uint64_t kComplainMs = 60'000;
/// Datagrams taken from each group's socket at once: the network comes first.
constexpr unsigned kReceiveMost = 32;

discovery::Record own_record(const Config& config, const Identity& identity) {
  discovery::Record r;
  r.node = config.node;
  r.machine = identity.machine;
  r.life = identity.life;
  if (const auto address = net::Address::parse(config.address)) r.address = *address;
  return r;
}

discovery::MembershipKnobs knobs_of(const Config& config) {
  discovery::MembershipKnobs knobs;
  knobs.multicast = config.discover;
  return knobs;
}

}  // namespace

std::uint64_t wall_ms() {
  timespec t{};
  ::clock_gettime(CLOCK_REALTIME, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1000 + static_cast<std::uint64_t>(t.tv_nsec) / 1'000'000;
}

discovery::MulticastConfig multicast_config(const Config& config) {
  discovery::MulticastConfig out;
  out.interfaces = config.interfaces;
  for (const std::string& group : config.multicast)
    if (const auto address = net::Address::parse(group, 7201)) out.groups.push_back(*address);
  return out;
}

Presence::Presence(const Config& config, const Identity& identity, const ClusterKey& key, Poller& poller,
                   Calls calls)
    : poller_(poller),
      calls_(std::move(calls)),
      sealer_(key),
      membership_(own_record(config, identity), knobs_of(config), identity.machine ^ identity.life) {
  for (const Seed& seed : config.seeds)
    if (const auto address = net::Address::parse(seed.address)) membership_.add_seed(*address);
  if (config.discover) listen(config, poller);
}

Presence::~Presence() {
  for (const Poller::Id id : watches_) poller_.remove(id);
}

void Presence::listen(const Config& config, Poller& poller) {
  auto opened = discovery::Multicast::open(multicast_config(config));
  if (!opened) {
    log::warning("no multicast: only seeds are asked",
                 {{"what", opened.error().op}, {"why", std::strerror(opened.error().code)}});
    return;
  }
  multicast_.emplace(*std::move(opened));
  std::string names;
  for (const std::string& name : multicast_->interfaces()) names += (names.empty() ? "" : " ") + name;
  if (names.empty()) log::warning("no interface that is up knows multicast; one that comes will be used");
  for (const int fd : multicast_->fds())
    if (const auto watch = poller.add(fd, EPOLLIN, [this](std::uint32_t) { receive(); }))
      watches_.push_back(*watch);
  log::debug("discovery", {{"interfaces", names}});
}

void Presence::receive() {
  multicast_->receive(kReceiveMost,
                      [this](std::span<const std::byte> bytes, const discovery::Multicast::Origin& origin) {
                        take(bytes, origin.from, &origin);
                      });
}

void Presence::on_loose(std::span<const std::byte> bytes, const net::Address& from) {
  take(bytes, from, nullptr);
}

void Presence::take(std::span<const std::byte> bytes, const net::Address& from,
                    const discovery::Multicast::Origin* origin) {
  const auto packet = sealer_.open(bytes, wall_ms());
  if (!packet) return complain_of_drops(from);
  membership_.on_packet(*packet, from, calls_.now_ms());
  settle(origin);
}

// Rarely: whoever can send to us could fill the log.
void Presence::complain_of_drops(const net::Address& from) {
  const std::uint64_t now = calls_.now_ms();
  if (complained_ms_ != 0 && now - complained_ms_ < kComplainMs) return;
  complained_ms_ = now;
  const discovery::SealCounters& c = sealer_.counters();
  if (c.old != complained_.old)
    log::warning(
        "a node's clock differs too much from ours for it to join; remedy: synchronise the clocks (NTP)",
        {{"from", from.text()}, {"seconds", sealer_.last_clock_difference_ms() / 1000}});
  else
    log::warning("a discovery packet of another cluster, or with another key, was dropped",
                 {{"from", from.text()}, {"wrong_key", c.wrong_key}, {"malformed", c.malformed}});
  complained_ = c;
}

void Presence::tick(std::uint64_t now_ms) {
  if (now_ms < next_ms_) return;
  next_ms_ = membership_.tick(now_ms);
  settle(nullptr);
}

void Presence::change(const std::function<void(discovery::Membership&, std::uint64_t)>& change) {
  change(membership_, calls_.now_ms());
  next_ms_ = 0;
  settle(nullptr);
}

void Presence::settle(const discovery::Multicast::Origin* origin) {
  // An event's handler may change the membership, and come here again.
  if (settling_) return;
  settling_ = true;
  for (bool more = true; more;) {
    more = false;
    for (discovery::Outgoing& o : membership_.take_outgoing()) {
      more = true;
      o.packet.wall_ms = wall_ms();
      const std::vector<std::byte> bytes = sealer_.seal(o.packet);
      ++sent_packets_;
      sent_bytes_ += bytes.size();
      if (o.way == discovery::Way::Multicast) {
        if (multicast_) multicast_->send(bytes);
      } else if (o.way == discovery::Way::Back && origin != nullptr) {
        discovery::Multicast::send_back(*origin, bytes);
      } else {
        calls_.send(o.to, bytes);
      }
    }
    for (const discovery::Event& e : membership_.take_events()) {
      more = true;
      calls_.on_event(e);
    }
  }
  settling_ = false;
}

}  // namespace hpcvmm::daemon
