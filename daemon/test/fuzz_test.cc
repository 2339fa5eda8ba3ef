// Goal: the fuzz targets hold over mutated good inputs in every build, without libFuzzer.
// Method: a bounded number of random changes to seeds; the seed of the random numbers is printed with a
// failure.
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "daemon/peer_message.hh"
#include "daemon/test/fuzz_targets.hh"
#include "hpcvmm/wire/local.hh"
#include "net/discovery/packet.hh"

namespace hpcvmm::fuzz {
namespace {

using Bytes = std::vector<std::uint8_t>;
namespace local = wire::local;
namespace peer = daemon::peer;

template <class T> Bytes raw(const T& m) {
  Bytes b(sizeof m);
  std::memcpy(b.data(), &m, sizeof m);
  return b;
}
template <class T> Bytes list(const T& m) {
  const auto bytes = peer::bytes_of(m);
  Bytes b(bytes.size());
  std::memcpy(b.data(), bytes.data(), bytes.size());
  return b;
}
Bytes text(const std::string& s) { return {s.begin(), s.end()}; }

void mutate(Bytes& b, std::mt19937& random) {
  for (unsigned n = random() % 4; n != 0; --n) {
    const std::size_t at = b.empty() ? 0 : random() % b.size();
    switch (random() % 4) {
      case 0:
        if (!b.empty()) b[at] = static_cast<std::uint8_t>(random());
        break;
      case 1:
        if (!b.empty()) b[at] ^= static_cast<std::uint8_t>(1U << random() % 8);
        break;
      case 2:
        b.insert(b.begin() + static_cast<std::ptrdiff_t>(at), static_cast<std::uint8_t>(random()));
        break;
      default: b.resize(at); break;
    }
  }
}

void run(void (*target)(const std::uint8_t*, std::size_t), const std::vector<Bytes>& seeds, int rounds) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::fprintf(stderr, "seed %u\n", seed);  // abort() shows no trace
  std::mt19937 random(seed);
  for (int i = 0; i < rounds; ++i) {
    Bytes b = seeds[random() % seeds.size()];
    mutate(b, random);
    const Bytes exact(b);  // no spare room behind it
    target(exact.data(), exact.size());
  }
}

TEST(Fuzz, LocalMessage) {
  local::Open open;
  open.channel = 1;
  local::FileSeen seen;
  local::FileAsk ask;
  seen.path[0] = ask.path[0] = '/';
  local::Register share;
  share.role = local::Role::Share;
  run(local_message,
      {raw(local::Register{}), raw(share), raw(local::State{}), raw(local::Held{}), raw(open),
       raw(local::MoveDone{}), raw(seen), raw(ask)},
      50'000);
}

TEST(Fuzz, PeerMessage) {
  peer::OpenRequest open;
  open.circuit = 1;
  Bytes rpc = raw(peer::Rpc{});
  rpc.push_back('x');
  rpc[4] = static_cast<std::uint8_t>(rpc.size());
  peer::LoadMessage load;
  load.head.count = 2;
  for (peer::LoadEntry& e : load.entries) e = {1, 1, 0, 1000, 0, 0, 1024, 512, 0, 0, 0, 1, 0, 0};
  peer::Guest guest;
  guest.pid = 1;
  guest.mask_count = 2;
  guest.mask[1] = 1;
  peer::GuestsMessage guests;
  guests.head.count = 3;
  run(peer_message,
      {raw(peer::Gossip{}), raw(open), raw(peer::OpenReply{}), raw(peer::Mark{}), raw(peer::Abort{}), rpc,
       list(load), raw(guest), list(guests)},
      50'000);
}

TEST(Fuzz, ApiRequest) {
  run(api_request,
      {text(R"({"op":"migrate","pid":4711,"to":3,"mode":"precopy"})"), text(R"({"op":"ps","local":true})"),
       text(R"({"op":"ps","mappings":true})"), text(R"({"op":"faults","spec":"loss=1%"})")},
      20'000);
}

TEST(Fuzz, DiscoveryPacket) {
  using namespace net::discovery;  // NOLINT(google-build-using-namespace): one function
  std::vector<Bytes> seeds;
  for (unsigned type = 1; type <= static_cast<unsigned>(kLastType); ++type) {
    Packet p;
    p.type = static_cast<Type>(type);
    p.self.node = type % 3 + 1;
    p.self.address.port = 7200;
    p.self.life = 4 + type % 3;
    p.sequence = type;
    p.records.assign(type % 4, p.self);
    if (p.type == Type::Sync) p.buckets.resize(kBuckets);
    const auto encoded = encode(p);
    Bytes b(encoded.size());
    std::memcpy(b.data(), encoded.data(), b.size());
    seeds.push_back(b);
  }
  run(discovery_packet, seeds, 20'000);
}

TEST(Fuzz, MapFile) {
  run(map_file,
      {text("1 10.0.0.1 30\n31 host 1\n31 10.1.1.1 ALIAS\n# end\n"), text("9 fd00::1 3\n9 10.0.0.1 0\n")},
      20'000);
}

TEST(Fuzz, Config) {
  run(hpcd_config,
      {raw("node = 2\naddress = \"a:1\"\nkey = \"/k\"\ncpus = 1.5\n[[seeds]]\nid = 1\naddress = \"b:1\"\n")},
      5000);
}

}  // namespace
}  // namespace hpcvmm::fuzz
