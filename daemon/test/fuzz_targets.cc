// Threat model: any bytes from a local process (local_message, api_request), from a node whose program is
// another one (peer_message), or lies (discovery_packet); a configuration or a map that a person has mistyped
// (hpcd_config, map_file).
#include "daemon/test/fuzz_targets.hh"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "daemon/config.hh"
#include "daemon/local_codec.hh"
#include "daemon/peer_message.hh"
#include "daemon/request.hh"
#include "net/discovery/map_file.hh"
#include "net/discovery/membership.hh"

namespace hpcvmm::fuzz {

using namespace daemon;  // NOLINT(google-build-using-namespace): four functions
namespace local = wire::local;

namespace {
void promise(bool kept, const char* what) {
  if (kept) return;
  std::fprintf(stderr, "broken promise: %s\n", what);
  std::abort();
}

template <std::size_t N> bool printable(const char (&text)[N]) {
  const std::size_t length = ::strnlen(text, N);
  if (length == N) return false;
  for (std::size_t i = 0; i < length; ++i)
    if (text[i] < 0x20 || text[i] > 0x7e) return false;
  return true;
}
}  // namespace

void local_message(const std::uint8_t* data, std::size_t bytes) {
  const LocalMessage m = parse_local(std::as_bytes(std::span(data, bytes)));
  if (const auto* r = std::get_if<local::Register>(&m)) {
    promise(printable(r->comm) && printable(r->exe), "Register holds text for terminals");
    promise(r->role == local::Role::Deputy || r->role == local::Role::Remote || r->role == local::Role::Share,
            "Register has a role");
  } else if (const auto* shared = std::get_if<local::Mappings>(&m)) {
    promise(shared->count <= local::kMappingsInOne && shared->first + shared->count <= local::kMostMappings,
            "Mappings are as many as fit");
    for (const local::Mapping& one : shared->list)
      promise(printable(one.name) && printable(one.why) && one.kind <= local::SharedKind::Other,
              "Mappings hold text for terminals");
  } else if (const auto* held = std::get_if<local::Held>(&m)) {
    promise(held->count <= local::kMostHeld, "Held holds as many as fit");
  } else if (const auto* s = std::get_if<local::State>(&m)) {
    promise(printable(s->cantmove), "State holds text for terminals");
  } else if (const auto* o = std::get_if<local::Open>(&m)) {
    promise(o->channel >= 1 && o->channel <= 65535 && printable(o->comm), "Open has a channel");
  } else if (const auto* c = std::get_if<local::Close>(&m)) {
    promise(c->channel >= 1 && c->channel <= 65535, "Close has a channel");
  } else if (const auto* d = std::get_if<local::MoveDone>(&m)) {
    promise(printable(d->why), "MoveDone holds text for terminals");
  } else if (const auto* seen = std::get_if<local::FileSeen>(&m)) {
    promise(seen->path[0] == '/' && ::strnlen(seen->path, sizeof seen->path) < sizeof seen->path,
            "FileSeen has a path that ends");
  } else if (const auto* ask = std::get_if<local::FileAsk>(&m)) {
    promise(ask->path[0] == '/' && ::strnlen(ask->path, sizeof ask->path) < sizeof ask->path,
            "FileAsk has a path that ends");
  }
}

void peer_message(const std::uint8_t* data, std::size_t bytes) {
  const peer::Message m = peer::parse(std::as_bytes(std::span(data, bytes)));
  if (const auto* r = std::get_if<peer::RpcMessage>(&m)) {
    const auto* const text = reinterpret_cast<const std::uint8_t*>(r->text.data());
    promise(r->text.empty() || (text >= data && text + r->text.size() <= data + bytes),
            "an Rpc's text lies in the message");
    promise(r->text.size() <= peer::kMaxRpcText, "an Rpc's text has its limit");
  } else if (const auto* o = std::get_if<peer::OpenRequest>(&m)) {
    promise(o->circuit != 0 && printable(o->comm), "OpenRequest is checked");
  } else if (const auto* load = std::get_if<peer::LoadMessage>(&m)) {
    promise(load->head.count >= 1 && load->head.count <= peer::kMostLoads, "a Load has its limit");
    for (std::size_t i = 0; i < load->head.count; ++i)
      promise(
          load->entries[i].cpus != 0 && load->entries[i].speed_milli != 0 && load->entries[i].total_mib != 0,
          "a load can be divided by");
    const auto again = peer::bytes_of(*load);
    promise(again.size() == bytes && std::memcmp(again.data(), data, bytes) == 0,
            "Load and back is the same");
  } else if (const auto* guest = std::get_if<peer::Guest>(&m)) {
    promise(guest->pid > 0 && guest->mask_count <= peer::kMostMasked && guest->mask_mode <= 2,
            "a Guest is checked");
  } else if (const auto* guests = std::get_if<peer::GuestsMessage>(&m)) {
    promise(guests->head.count >= 1 && guests->head.count <= peer::kMostReports, "a Guests has its limit");
  } else if (const auto* reply = std::get_if<peer::OpenReply>(&m)) {
    promise(printable(reply->why), "OpenReply holds text for terminals");
  } else if (const auto* mark = std::get_if<peer::Mark>(&m)) {
    promise(printable(mark->why), "Mark holds text for terminals");
  } else if (const auto* abort = std::get_if<peer::Abort>(&m)) {
    promise(printable(abort->why), "Abort holds text for terminals");
  }
}

void api_request(const std::uint8_t* data, std::size_t bytes) {
  const auto r = parse_request(std::string_view(reinterpret_cast<const char*>(data), bytes));
  if (const auto* const request = std::get_if<Request>(&r)) {
    const auto again = parse_request(request_text(*request));
    promise(std::holds_alternative<Request>(again), "a request's text is a request");
    promise(request_text(std::get<Request>(again)) == request_text(*request), "text and back is the same");
  } else {
    promise(!std::get<Refusal>(r).text.empty(), "a refusal says why");
  }
}

void discovery_packet(const std::uint8_t* data, std::size_t bytes) {
  using namespace net::discovery;  // NOLINT(google-build-using-namespace): one function
  const auto p = parse(std::as_bytes(std::span(data, bytes)));
  if (!p) return;
  promise(p->self.node >= 1 && p->self.node <= net::discovery::kMaxNode && p->records.size() <= kMaxRecords,
          "a packet is in its bounds");
  const auto again = encode(*p);
  promise(again.size() == bytes && (bytes == 0 || std::memcmp(again.data(), data, bytes) == 0),
          "bytes and back is the same");
  // Whatever is said, the state machine lives on, answers little and still counts right.
  Record self;
  self.node = 1;
  self.machine = self.life = 5;
  self.address.port = 1;
  Membership m(self, {}, 1);
  m.tick(0);
  m.take_outgoing();
  for (std::uint64_t now = 1; now < 4; ++now) m.on_packet(*p, p->self.address, now);
  promise(m.take_outgoing().size() <= 16, "a packet makes few packets");
  for (std::uint64_t now = 100; now < 20'000; now += 500) m.tick(now);
  std::uint32_t present = 1;
  for (const net::discovery::Member& one : m.members()) present += one.present() ? 1 : 0;
  promise(present == m.count(), "members are counted right");
}

void map_file(const std::uint8_t* data, std::size_t bytes) {
  using namespace net::discovery;  // NOLINT(google-build-using-namespace): one function
  const std::string_view text(reinterpret_cast<const char*>(data), bytes);
  const auto r =
      parse_map(text, 7200, [](const std::string& host) { return find_host("10.9.9.9 host\n", host); });
  if (const auto* const e = std::get_if<MapError>(&r)) return promise(!e->text.empty(), "a refusal says why");
  const auto& entries = std::get<0>(r);
  for (const MapEntry& e : entries)
    promise(e.node >= 1 && e.node <= net::discovery::kMaxNode && !e.addresses.empty(), "an entry is whole");
}

void hpcd_config(const std::uint8_t* data, std::size_t bytes) {
  const auto r = parse_config(std::string_view(reinterpret_cast<const char*>(data), bytes), "f");
  if (const auto* const c = std::get_if<Config>(&r))
    promise((c->node >= 1 || c->discover || !c->map.empty()) && c->node <= kMaxNode && !c->address.empty() &&
                !c->key_file.empty(),
            "a configuration is whole");
  else
    promise(!std::get<Refusal>(r).text.empty(), "a refusal says why");
}

}  // namespace hpcvmm::fuzz
