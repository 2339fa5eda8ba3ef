#include "daemon/identity.hh"

#include <fcntl.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "daemon/log.hh"
#include "daemon/presence.hh"
#include "daemon/system.hh"
#include "net/discovery/map_file.hh"
#include "net/discovery/multicast.hh"
#include "net/discovery/seal.hh"

namespace hpcvmm::daemon {

namespace discovery = net::discovery;
using nlohmann::json;

namespace {

constexpr int kProbationMs = 300;
constexpr std::uint32_t kAttempts = 8;

std::string state_file(const Config& config) { return config.state_dir + "/node.state"; }

std::string read_text(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::optional<Refusal> remember(const Config& config, const Identity& identity) {
  const std::string path = state_file(config);
  const std::string fresh = path + ".new";
  if (!make_folders(config.state_dir))
    return Refusal{"state_dir " + config.state_dir + ": " + std::strerror(errno)};
  std::ofstream file(fresh);
  file << identity_text(identity);
  // Whole or not at all: a machine that forgets who it is would be taken for another one.
  if (!file.flush().good() || ::rename(fresh.c_str(), path.c_str()) != 0)
    return Refusal{path + ": " + std::strerror(errno) +
                   "; remedy: give a folder that can be written as `state_dir`"};
  return std::nullopt;
}

std::optional<Refusal> read_map(Config& config) {
  const auto address = net::Address::parse(config.address);
  const std::string text = read_text(config.map);
  if (text.empty()) return Refusal{"map " + config.map + ": it cannot be read, or is empty"};
  const auto parsed = discovery::parse_map(text, address && address->port != 0 ? address->port : 7200,
                                           discovery::resolve_host);
  if (const auto* const e = std::get_if<discovery::MapError>(&parsed))
    return Refusal{config.map + ":" + std::to_string(e->line) + ": " + e->text};
  const auto& entries = std::get<0>(parsed);
  const Node own = discovery::find_own(entries, address ? std::vector{*address} : discovery::own_addresses());
  if (config.node == 0) config.node = own;
  if (own != 0 && own != config.node)
    return Refusal{config.map + ": this machine is node " + std::to_string(own) + " there, but `node` is " +
                   std::to_string(config.node)};
  for (const discovery::MapEntry& e : entries) {
    bool known = e.node == config.node;
    for (const Seed& seed : config.seeds) known = known || seed.id == e.node;
    if (!known) config.seeds.push_back({e.node, e.addresses.front().text()});
  }
  return std::nullopt;
}

/// Whether nobody objects to that number for a while.
bool is_free(const Config& config, const ClusterKey& key, const Identity& claim,
             const net::Address& address) {
  auto opened = discovery::Multicast::open(multicast_config(config));
  if (!opened) return true;  // conflicts then show when it runs
  discovery::Sealer sealer(key);
  discovery::Packet p;
  p.type = discovery::Type::Announce;
  p.flags = discovery::kProbation;
  p.self.node = claim.node;
  p.self.machine = claim.machine;
  p.self.life = claim.life;
  p.self.address = address;
  bool taken = false;
  for (int slice = 0; slice < 3 && !taken; ++slice) {
    ++p.sequence;
    p.wall_ms = wall_ms();
    opened->send(sealer.seal(p));
    const std::uint64_t end = wall_ms() + kProbationMs / 3;
    for (std::uint64_t now = wall_ms(); now < end && !taken; now = wall_ms()) {
      std::vector<pollfd> fds;
      for (const int fd : opened->fds()) fds.push_back({fd, POLLIN, 0});
      if (::poll(fds.data(), fds.size(), static_cast<int>(end - now)) <= 0) continue;
      opened->receive(32, [&](std::span<const std::byte> bytes, const discovery::Multicast::Origin&) {
        const auto other = sealer.open(bytes, wall_ms());
        if (!other || other->self.machine == claim.machine) return;
        // Of two that try at the same time, the one that started first has it.
        const bool both_try = (other->flags & discovery::kProbation) != 0;
        const bool first = other->self.life != claim.life ? other->self.life < claim.life
                                                          : other->self.machine < claim.machine;
        if (other->self.node == claim.node && (!both_try || first)) taken = true;
        if (other->type == discovery::Type::Conflict && other->about == claim.node) taken = true;
      });
    }
  }
  return !taken;
}

std::optional<Refusal> find_number(const Config& config, const ClusterKey& key, Identity& identity) {
  const auto address = net::Address::parse(config.address);
  if (!address) return Refusal{"address = \"" + config.address + "\" is not like 10.0.0.1:7200"};
  for (std::uint32_t tries = 0; tries < kAttempts; ++tries) {
    identity.node = proposed_number(*address, identity.machine, identity.attempt);
    if (is_free(config, key, identity, *address)) return std::nullopt;
    log::warning("another node has that number; another one is tried", {{"number", identity.node}});
    ++identity.attempt;
  }
  return Refusal{"no free number was found for this node; remedy: give one as `node`"};
}

}  // namespace

std::optional<Identity> parse_identity(std::string_view text) {
  const json j = json::parse(text, nullptr, false);
  if (!j.is_object()) return std::nullopt;
  Identity out;
  for (const auto& [name, to] : {std::pair("machine", &out.machine), std::pair("life", &out.life)}) {
    if (!j.contains(name) || !j[name].is_number_unsigned()) return std::nullopt;
    *to = j[name].get<std::uint64_t>();
  }
  const std::uint64_t node =
      j.contains("node") && j["node"].is_number_unsigned() ? j["node"].get<std::uint64_t>() : 0;
  const std::uint64_t attempt =
      j.contains("attempt") && j["attempt"].is_number_unsigned() ? j["attempt"].get<std::uint64_t>() : 0;
  if (out.machine == 0 || node > kMaxNode || attempt > 1'000'000) return std::nullopt;
  out.node = static_cast<Node>(node);
  out.attempt = static_cast<std::uint32_t>(attempt);
  return out;
}

std::string identity_text(const Identity& i) {
  return json{{"machine", i.machine}, {"life", i.life}, {"node", i.node}, {"attempt", i.attempt}}.dump() +
         "\n";
}

Node proposed_number(const net::Address& address, std::uint64_t machine, std::uint32_t attempt) {
  const auto low = static_cast<Node>(address.ip[14] << 8 | address.ip[15]);
  if (attempt == 0 && low != 0) return low;
  std::uint64_t z = machine + attempt * 0x9e3779b97f4a7c15ULL;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return static_cast<Node>(1 + (z ^ (z >> 31)) % kMaxNode);
}

std::variant<Identity, Refusal> settle_identity(Config& config, const ClusterKey& key) {
  Identity identity;
  if (const auto before = parse_identity(read_text(state_file(config)))) identity = *before;
  while (identity.machine == 0)
    if (::getrandom(&identity.machine, sizeof identity.machine, 0) != sizeof identity.machine)
      return Refusal{"getrandom failed"};
  identity.life = std::max(identity.life + 1, wall_ms());
  if (!config.map.empty())
    if (auto refusal = read_map(config)) return *refusal;
  if (config.node != 0) {
    identity.node = config.node;
  } else if (identity.node == 0) {
    if (!config.discover)
      return Refusal{config.map +
                     ": none of this machine's addresses is in it; remedy: add it, or give `node`"};
    if (auto refusal = find_number(config, key, identity)) return *refusal;
  }
  config.node = identity.node;
  if (config.run_dir.empty()) config.run_dir = "/run/hpc-vmm/" + std::to_string(config.node);
  std::erase_if(config.seeds,
                [&](const Seed& s) { return s.id == config.node || s.address == config.address; });
  if (auto refusal = remember(config, identity)) return *refusal;
  return identity;
}

void forget_number(const Config& config, const Identity& identity) {
  Identity next = identity;
  next.node = 0;
  ++next.attempt;
  if (const auto refusal = remember(config, next)) log::warning(refusal->text);
}

}  // namespace hpcvmm::daemon
