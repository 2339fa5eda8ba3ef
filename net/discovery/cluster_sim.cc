#include "net/discovery/cluster_sim.hh"

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include "net/discovery/membership.hh"
#include "net/driver/sim/sim.hh"

namespace hpcvmm::net::discovery {
namespace {

constexpr Nanos kStep = 5 * kMillisecond;
constexpr double kPatience = 120;
// What is added to a packet on its way: the seal (seal.hh; here are no keys), the transport's mark, UDP,
// IPv4.
constexpr std::uint32_t kAround = 44 + 4 + 28;
constexpr std::uint32_t kPayload = 1200;

struct Node {
  std::unique_ptr<SimDriver> driver;
  std::unique_ptr<Membership> members;
  std::uint64_t due_ms = 0;
  std::uint64_t bytes = 0, packets = 0;
};

class ClusterSim {
 public:
  explicit ClusterSim(const ClusterSimOptions& o) : o_(o), net_(o.seed) {
    SimLink link;
    link.delay = 100 * kMicrosecond;
    link.jitter = 50 * kMicrosecond;
    link.loss = o.loss;
    net_.set_links(link);
    random_ = o.seed;
  }
  ClusterSimResult run();

 private:
  static Address address_of(std::size_t i) {
    return Address::from_v4(0x0a000001U + static_cast<std::uint32_t>(i), 7200);
  }
  [[nodiscard]] std::uint64_t now_ms() const { return net_.now() / kMillisecond; }
  [[nodiscard]] double now_s() const { return static_cast<double>(net_.now()) / kSecond; }
  std::uint32_t below(std::uint32_t n) {
    random_ = random_ * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<std::uint32_t>((random_ >> 33) % n);
  }

  void start(std::size_t i, std::uint64_t delay_ms);
  void crash(std::size_t i) {
    nodes_[i].members.reset();
    nodes_[i].driver.reset();
    --living_;
  }
  void step();
  void serve(Node& n);
  /// Runs until `done`, which is looked at ten times a second; returns seconds, or -1.
  double until(const std::function<bool()>& done, double patience = kPatience);
  void pass(double seconds) {
    until([] { return false; }, seconds);
  }
  bool all_know_all() {
    return std::all_of(nodes_.begin(), nodes_.end(),
                       [this](const Node& n) { return !n.members || n.members->count() == living_; });
  }
  std::uint64_t bytes() const {
    std::uint64_t sum = 0;
    for (const Node& n : nodes_) sum += n.bytes;
    return sum;
  }
  void measure_traffic();
  void measure_changes();
  void measure_partition();

  const ClusterSimOptions& o_;
  SimNetwork net_;
  std::uint64_t random_ = 1;
  std::vector<Node> nodes_;
  std::uint32_t living_ = 0;
  bool cut_ = false;  ///< nodes whose parity differs do not hear each other
  bool was_cut_ = false;
  ClusterSimResult r_;
};

void ClusterSim::start(std::size_t i, std::uint64_t delay_ms) {
  if (i >= nodes_.size()) nodes_.resize(i + 1);
  Node& n = nodes_[i];
  n.driver = net_.attach(address_of(i), kPayload);
  Record self;
  self.node = static_cast<NodeId>(i + 1);
  self.address = address_of(i);
  self.machine = i + 1000;
  self.life = now_ms();
  MembershipKnobs knobs;
  knobs.multicast = false;
  n.members = std::make_unique<Membership>(self, knobs, o_.seed * 1'000'003 + i);
  const std::array<std::byte, 48> load{};
  n.members->set_load(load);
  for (std::size_t s = 0; s < o_.seeds; ++s) n.members->add_seed(address_of(s));
  n.due_ms = now_ms() + delay_ms;
  ++living_;
}

void ClusterSim::serve(Node& n) {
  std::array<RxPacket, kMaxBurst> rx{};
  for (std::size_t got = 0; (got = n.driver->receive(rx)) != 0;) {
    for (std::size_t i = 0; i < got; ++i) {
      const bool other_side = cut_ && (rx[i].from.ip[15] ^ n.members->self().address.ip[15]) % 2 != 0;
      if (const auto p = parse({rx[i].data, rx[i].bytes}); p && !other_side)
        n.members->on_packet(*p, rx[i].from, now_ms());
    }
    n.driver->release(std::span(rx).first(got));
  }
  if (now_ms() >= n.due_ms) n.due_ms = n.members->tick(now_ms());
  for (const Outgoing& o : n.members->take_outgoing()) {
    const std::vector<std::byte> bytes = encode(o.packet);
    TxPacket tx;
    n.driver->alloc({&tx, 1});
    std::memcpy(tx.data, bytes.data(), bytes.size());
    tx.bytes = static_cast<std::uint32_t>(bytes.size());
    n.driver->send(o.to, {&tx, 1});
    n.bytes += bytes.size() + kAround;
    ++n.packets;
    r_.longest_packet = std::max(r_.longest_packet, static_cast<std::uint32_t>(bytes.size()) + kAround);
  }
  for (const Event& e : n.members->take_events())
    if (e.kind == Event::Kind::Failed && !was_cut_ && nodes_[e.node - 1].members) ++r_.false_deaths;
}

void ClusterSim::step() {
  net_.advance(net_.now() + kStep);
  for (Node& n : nodes_)
    if (n.members && (n.driver->waiting() || now_ms() >= n.due_ms)) serve(n);
}

double ClusterSim::until(const std::function<bool()>& done, double patience) {
  const double begin = now_s();
  for (unsigned i = 0; now_s() - begin < patience; ++i) {
    step();
    if (i % 10 == 0 && done()) return now_s() - begin;
  }
  return -1;
}

void ClusterSim::measure_traffic() {
  pass(20);  // until it is quiet
  for (Node& n : nodes_) n.bytes = n.packets = 0;
  pass(o_.watched_s);
  const double per = 1.0 / o_.watched_s;
  std::uint64_t packets = 0, most = 0;
  for (const Node& n : nodes_) {
    packets += n.packets;
    most = std::max(most, n.bytes);
  }
  r_.idle_bytes_ps = static_cast<double>(bytes()) * per / living_;
  r_.idle_packets_ps = static_cast<double>(packets) * per / living_;
  r_.most_bytes_ps = static_cast<double>(most) * per;
}

void ClusterSim::measure_changes() {
  const std::size_t fresh = nodes_.size();
  start(fresh, 0);
  double knows = -1;
  const double begin = now_s();
  r_.join_known_s = until([&] {
    if (knows < 0 && nodes_[fresh].members->count() == living_) knows = now_s() - begin;
    return all_know_all();
  });
  r_.join_knows_s = knows;
  pass(1);
  const auto gone = static_cast<NodeId>(fresh);  // the last but one
  crash(gone - 1);
  const double crashed = now_s();
  r_.crash_known_s = until([&] {
    for (const Node& n : nodes_) {
      if (!n.members || r_.crash_noticed_s >= 0) continue;
      const Member* const m = n.members->find(gone);
      if (m != nullptr && m->record.state != State::Alive) r_.crash_noticed_s = now_s() - crashed;
    }
    return all_know_all();
  });
  const std::uint64_t before = bytes();
  for (std::uint32_t i = 0; i < o_.busy_changes; ++i) {
    if (i % 2 == 0) {
      start(nodes_.size(), 0);
    } else {
      crash(nodes_.size() - 1);
    }
    pass(1);
  }
  if (o_.busy_changes != 0)
    r_.busy_bytes_ps = static_cast<double>(bytes() - before) / o_.busy_changes / living_;
}

void ClusterSim::measure_partition() {
  if (until([this] { return all_know_all(); }) < 0) return;
  cut_ = was_cut_ = true;
  pass(30);
  cut_ = false;
  r_.partition_heals_s = until([this] { return all_know_all(); });
}

ClusterSimResult ClusterSim::run() {
  r_.nodes = o_.nodes;
  for (std::size_t i = 0; i < o_.nodes; ++i) start(i, below(1000));
  r_.all_know_all_s = until([this] { return all_know_all(); });
  measure_traffic();
  measure_changes();
  measure_partition();
  return r_;
}

}  // namespace

ClusterSimResult simulate_cluster(const ClusterSimOptions& options) { return ClusterSim(options).run(); }

}  // namespace hpcvmm::net::discovery
