#include "tests/migrate/bad_link.hh"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <utility>
#include <vector>

namespace hpcvmm::test {
namespace {

/// A machine that was busy elsewhere must not look like a dead peer: the network's clock goes no further at a
/// time.
constexpr net::Nanos kLongestStep = 20 * net::kMillisecond;
/// Shorter than hpcd's, so that a test of a cut link is.
constexpr net::Nanos kSilence = 400 * net::kMillisecond;

net::Nanos real_now() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * net::kSecond + t.tv_nsec;
}

net::Address address_of(End end) {
  return net::Address::from_v4(0x0a000001U + static_cast<unsigned>(end), 7000);
}
net::NodeId id_of(End end) { return 1 + static_cast<net::NodeId>(end); }
End other(End end) { return end == End::Deputies ? End::Remotes : End::Deputies; }
net::Priority priority_of(unsigned stream) {
  return stream == 0 ? net::Priority::Fault : net::Priority::Bulk;
}

[[noreturn]] void give_up(const char* why) {
  std::printf("patchbay: the simulated link: %s\n", why);
  std::fflush(stdout);
  std::_Exit(1);
}

}  // namespace

class BadLink::Node final : public net::Handler {
 public:
  Node(BadLink& link, End end) : link_(link), end_(end), driver_(link.net_.attach(address_of(end))) {
    net::Config config;
    config.node = id_of(end);
    config.key.fill(0x5a);
    config.tuning.silence = kSilence;
    config.tuning.keepalive = kSilence / 5;
    auto made = net::Transport::create(config, *driver_, driver_->clock(), *this);
    if (!made) give_up(made.error().op);
    transport_ = *std::move(made);
    if (!transport_->add_peer(id_of(other(end)), address_of(other(end)))) give_up("the peer is refused");
    transport_->set_interest(id_of(other(end)), true);
  }
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  ~Node() override { transport_.reset(); }

  [[nodiscard]] bool up() const { return transport_->up(id_of(other(end_))); }
  bool send(std::uint32_t circuit, unsigned stream, std::span<const std::byte> record) {
    return transport_->send(id_of(other(end_)), circuit, priority_of(stream), record) ? true : false;
  }
  /// When it wants the next pass, in network time.
  net::Nanos poll() {
    for (unsigned stream = 0; stream < 2; ++stream)
      if (std::exchange(full_[stream], false)) transport_->resume(id_of(other(end_)), priority_of(stream));
    return driver_->clock().network_time(transport_->poll());
  }
  [[nodiscard]] bool worked() const { return transport_->worked(); }
  [[nodiscard]] bool waits_for_room() const { return full_[0] || full_[1]; }

  net::Take on_message(const net::Message& m) override {
    const unsigned stream = m.priority == net::Priority::Fault ? 0 : 1;
    if (link_.deliver_(end_, m.channel, stream, m.bytes)) return net::Take::Done;
    full_[stream] = true;
    return net::Take::Later;
  }
  void on_peer_up(net::NodeId, std::uint64_t, std::uint64_t) override {}
  void on_peer_down(net::NodeId, net::DownReason reason) override {
    if (link_.net_.now() < link_.cut_at_) give_up(std::string(net::down_reason_name(reason)).c_str());
    if (!std::exchange(link_.lost_, true)) std::printf("link lost\n");
  }

 private:
  BadLink& link_;
  End end_;
  std::array<bool, 2> full_{};
  std::unique_ptr<net::SimDriver> driver_;
  std::unique_ptr<net::Transport> transport_;  // last: its end calls this handler
};

BadLink::BadLink(const net::SimLink& link, std::uint64_t seed, Deliver deliver)
    : net_(seed), seed_(seed), deliver_(std::move(deliver)), real_before_(real_now()) {
  net_.set_links(link);
  for (const End end : {End::Deputies, End::Remotes})
    nodes_[static_cast<std::size_t>(end)] = std::make_unique<Node>(*this, end);
  while (!nodes_[0]->up() || !nodes_[1]->up()) pass();
}

BadLink::~BadLink() = default;

bool BadLink::send(End end, std::uint32_t circuit, unsigned stream, std::span<const std::byte> record) {
  return nodes_[static_cast<std::size_t>(end)]->send(circuit, stream, record);
}

bool BadLink::pass() {
  const net::Nanos real = real_now();
  net_.advance(net_.now() + std::min(real - real_before_, kLongestStep));
  real_before_ = real;
  if (net_.now() >= cut_at_) net_.cut(address_of(End::Deputies), address_of(End::Remotes));
  bool worked = false;
  next_ = net_.now() + net::kMillisecond;
  for (const auto& node : nodes_) {
    next_ = std::min(next_, node->poll());
    worked = worked || node->worked();
    if (node->waits_for_room()) next_ = std::min(next_, net_.now() + 50 * net::kMicrosecond);
  }
  next_ = std::min(next_, net_.next_arrival());
  return worked;
}

std::string BadLink::summary() const {
  const net::SimNetwork::Counters& c = net_.counters();
  std::vector<char> text(160);
  std::snprintf(text.data(), text.size(), "link seed %llu packets %llu lost %llu overtaken %llu",
                static_cast<unsigned long long>(seed_), static_cast<unsigned long long>(c.sent),
                static_cast<unsigned long long>(c.lost), static_cast<unsigned long long>(c.overtaken));
  return text.data();
}

}  // namespace hpcvmm::test
