// Threat model: (1) any datagram at all, from anybody; (2) any frames inside an authentic packet, from a node
// of the cluster that has gone mad.  Input grammar: bit 0 of the first byte says which; then, for (1), the
// datagram; for (2), the frames of several packets, each behind its length (2 bytes), to the initiator of the
// session or (bit 1) to the other.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "net/driver/sim/sim.hh"
#include "net/transport/session.hh"
#include "tests/fuzz/fuzz_targets.hh"

namespace hpcvmm::fuzz {
namespace {

using namespace net;  // NOLINT(google-build-using-namespace)

void expect(bool promise, const char* what) {
  if (promise) return;
  std::fprintf(stderr, "broken promise: %s\n", what);
  std::abort();
}

class Sink final : public Handler {
 public:
  Take on_message(const Message& m) override {
    expect(m.bytes.size() <= kMaxMessage, "a message longer than any may be");
    // Every byte is readable; and now and then there is no room.
    unsigned sum = 0;
    for (const std::byte b : m.bytes) sum += static_cast<unsigned>(b);
    return sum % 7 == 1 ? Take::Later : Take::Done;
  }
  void on_peer_up(NodeId, std::uint64_t, std::uint64_t) override {
    expect(false, "a datagram made a session");
  }
  void on_peer_down(NodeId, DownReason) override {}
};

Config config() {
  Config c;
  c.node = 1;
  c.key.fill(1);
  c.incarnation = 1;
  c.tuning.max_payload = 8972;
  return c;
}

void any_datagram(std::span<const std::uint8_t> input) {
  SimNetwork network(1);
  const Address a = Address::from_v4(1, 1);
  const Address b = Address::from_v4(2, 2);
  const auto driver = network.attach(a);
  const auto other = network.attach(b);
  Sink sink;
  const auto transport = Transport::create(config(), *driver, driver->clock(), sink);
  expect(static_cast<bool>(transport), "no transport");
  expect(static_cast<bool>((*transport)->add_peer(2, b)), "no peer");
  TxPacket packet;
  other->alloc({&packet, 1});
  packet.bytes = static_cast<std::uint32_t>(std::min<std::size_t>(input.size(), packet.room));
  std::memcpy(packet.data, input.data(), packet.bytes);
  other->send(a, {&packet, 1});
  network.advance(network.now() + kMillisecond);
  (*transport)->poll();
  std::uint64_t dropped = 0;
  for (const std::uint64_t d : (*transport)->stats().drops) dropped += d;
  expect(dropped == 1, "a datagram that is neither taken nor counted");
}

void any_frames(std::span<const std::uint8_t> input, bool initiator) {
  SimNetwork network(1);
  const auto driver = network.attach(Address::from_v4(1, 1));
  Sink sink;
  Core core(config(), *driver, driver->clock(), sink);
  {
    SessionBegin begin;
    begin.node = 2;
    begin.address = Address::from_v4(2, 2);
    Session session(core, begin, std::make_unique<SessionKeys>(SessionSecrets{}, initiator, network.now()),
                    network.now());
    const std::byte body[3000] = {};
    const Part part(body);
    expect(static_cast<bool>(session.outgoing().push(Priority::Bulk, 1, {&part, 1}, false, 0)), "no room");
    std::uint64_t number = 0;
    while (input.size() > 2) {
      const std::size_t length = std::min<std::size_t>(input[0] + input[1] * 256U, input.size() - 2);
      // A copy of its own, so that reading behind it is noticed.
      const std::vector<std::uint8_t> frames(input.begin() + 2,
                                             input.begin() + 2 + static_cast<std::ptrdiff_t>(length));
      input = input.subspan(2 + length);
      session.receive(std::as_bytes(std::span(frames)), number++, network.now());
      session.want_resume(Priority::Fault);
      session.run_resumes();
      session.on_time(network.now());
      session.transmit(network.now());
      network.advance(network.now() + kMillisecond);
    }
    const std::uint64_t most = 13ULL << 20;
    expect(core.stats.assemblies_live * charge_of(0) <= most, "more is kept than the windows allow");
  }
  core.driver.free(std::span(core.spare).first(core.spares));
  expect(core.stats.messages_live == 0 && core.stats.assemblies_live == 0, "something leaked");
}

}  // namespace

void packet(const std::uint8_t* data, std::size_t bytes) {
  if (bytes == 0) return;
  const std::span<const std::uint8_t> input(data + 1, bytes - 1);
  if (data[0] % 2 == 0) {
    any_datagram(input);
  } else {
    any_frames(input, (data[0] & 2) == 0);
  }
}

}  // namespace hpcvmm::fuzz
