#include "daemon/peer_message.hh"

#include <algorithm>
#include <cstring>

#include "daemon/local_codec.hh"

namespace hpcvmm::daemon::peer {

namespace {

// No padding: what is sent holds no stray bytes of our memory.
static_assert(std::has_unique_object_representations_v<Gossip>);
static_assert(std::has_unique_object_representations_v<OpenRequest>);
static_assert(std::has_unique_object_representations_v<OpenReply>);
static_assert(std::has_unique_object_representations_v<OpenAck>);
static_assert(std::has_unique_object_representations_v<Mark>);
static_assert(std::has_unique_object_representations_v<Abort>);
static_assert(std::has_unique_object_representations_v<Pause>);
static_assert(std::has_unique_object_representations_v<Rpc>);
static_assert(std::has_unique_object_representations_v<LoadHead>);
static_assert(std::has_unique_object_representations_v<LoadEntry>);
static_assert(std::has_unique_object_representations_v<Guest>);
static_assert(std::has_unique_object_representations_v<GuestsHead>);
static_assert(std::has_unique_object_representations_v<GuestReport>);
static_assert(std::has_unique_object_representations_v<View>);
static_assert(std::has_unique_object_representations_v<GuestTime>);
static_assert(std::has_unique_object_representations_v<NamesAsk>);
static_assert(std::has_unique_object_representations_v<NamesFacts>);
static_assert(std::has_unique_object_representations_v<NamesReset>);

template <class T> Message whole(std::span<const std::byte> bytes) {
  if (bytes.size() != sizeof(T)) return Bad{"a message of a wrong size"};
  T m;
  std::memcpy(static_cast<void*>(&m), bytes.data(), sizeof m);
  return m;
}

template <class T> void clean_why(Message& message) {
  if (T* const m = std::get_if<T>(&message)) set_text(m->why, get_text(m->why));
}

Message gossip(std::span<const std::byte> bytes) {
  Message m = whole<Gossip>(bytes);
  if (const Gossip* const g = std::get_if<Gossip>(&m); g != nullptr && g->state > NodeState::Draining)
    return Bad{"an unknown state of a node"};
  return m;
}

Message open_request(std::span<const std::byte> bytes) {
  Message m = whole<OpenRequest>(bytes);
  OpenRequest* const r = std::get_if<OpenRequest>(&m);
  if (r == nullptr) return m;
  if (r->engine > wire::local::EngineKind::Direct) return Bad{"an unknown engine"};
  if (r->circuit == 0) return Bad{"circuit 0"};
  set_text(r->comm, get_text(r->comm));
  return m;
}

Message rpc(std::span<const std::byte> bytes) {
  RpcMessage m{};
  if (bytes.size() < sizeof m.head || bytes.size() > sizeof m.head + kMaxRpcText)
    return Bad{"an Rpc of a wrong size"};
  std::memcpy(static_cast<void*>(&m.head), bytes.data(), sizeof m.head);
  if (m.head.kind > RpcKind::Final || m.head.more > 1) return Bad{"an Rpc of an unknown kind"};
  const std::span<const std::byte> text = bytes.subspan(sizeof m.head);
  m.text = std::string_view(reinterpret_cast<const char*>(text.data()), text.size());
  return m;
}

/// A head with a count, and so many entries behind it.
template <class Whole, class Entry, std::size_t N>
const char* take_list(std::span<const std::byte> bytes, Whole& to, std::array<Entry, N>& entries) {
  if (bytes.size() < sizeof to.head) return "a list of a wrong size";
  std::memcpy(static_cast<void*>(&to.head), bytes.data(), sizeof to.head);
  const std::size_t count = to.head.count;
  if (count == 0 || count > N || bytes.size() != sizeof to.head + count * sizeof(Entry))
    return "a list of a wrong size";
  std::memcpy(static_cast<void*>(entries.data()), bytes.data() + sizeof to.head, count * sizeof(Entry));
  return nullptr;
}

Message load(std::span<const std::byte> bytes) {
  LoadMessage m;
  if (const char* const wrong = take_list(bytes, m, m.entries)) return Bad{wrong};
  for (std::size_t i = 0; i < m.head.count; ++i) {
    const LoadEntry& e = m.entries[i];
    // A node without CPUs, memory or speed would be divided by.
    if (e.node == 0 || e.node > 65535 || e.cpus == 0 || e.speed_milli == 0 || e.total_mib == 0)
      return Bad{"an impossible load"};
  }
  return m;
}

Message guest(std::span<const std::byte> bytes) {
  Message m = whole<Guest>(bytes);
  const Guest* const g = std::get_if<Guest>(&m);
  if (g == nullptr) return m;
  if (g->pid <= 0 || g->kind > 2 || g->decay > 3 || g->mask_mode > 2 || g->mask_count > kMostMasked)
    return Bad{"an impossible guest"};
  for (std::size_t i = 1; i < g->mask_count; ++i)
    if (g->mask[i] <= g->mask[i - 1]) return Bad{"a node mask out of order"};
  return m;
}

Message guests(std::span<const std::byte> bytes) {
  GuestsMessage m;
  if (const char* const wrong = take_list(bytes, m, m.reports)) return Bad{wrong};
  return m;
}

template <class Whole, class Entry, std::size_t N>
std::vector<std::byte> list_bytes(const Whole& m, const std::array<Entry, N>& entries) {
  auto head = m.head;
  const std::size_t tail = std::min<std::size_t>(head.count, N) * sizeof(Entry);
  std::vector<std::byte> out(sizeof head + tail);
  head.header.bytes = static_cast<std::uint32_t>(out.size());
  std::memcpy(out.data(), &head, sizeof head);
  std::memcpy(out.data() + sizeof head, entries.data(), tail);
  return out;
}

Message view(std::span<const std::byte> bytes) {
  ViewMessage m{};
  if (bytes.size() < sizeof m.head) return Bad{"a View of a wrong size"};
  std::memcpy(static_cast<void*>(&m.head), bytes.data(), sizeof m.head);
  std::size_t expected = sizeof m.head;
  for (const std::uint32_t n : m.head.text_bytes) {
    if (n > kMaxViewText) return Bad{"a text of a View is too long"};
    expected += n;
  }
  if (m.head.guests > kMaxViewGuests) return Bad{"a View of too many guests"};
  if (bytes.size() != expected + m.head.guests * sizeof(GuestTime)) return Bad{"a View of a wrong size"};
  const auto* at = reinterpret_cast<const char*>(bytes.data()) + sizeof m.head;
  for (std::size_t i = 0; i < kViewTexts; ++i) {
    m.texts[i] = std::string_view(at, m.head.text_bytes[i]);
    at += m.head.text_bytes[i];
  }
  m.guests.resize(m.head.guests);
  if (m.head.guests != 0)
    std::memcpy(static_cast<void*>(m.guests.data()), at, m.head.guests * sizeof(GuestTime));
  return m;
}

Message names_ask(std::span<const std::byte> bytes) {
  Message m = whole<NamesAsk>(bytes);
  const NamesAsk* const a = std::get_if<NamesAsk>(&m);
  if (a != nullptr && (a->path[0] != '/' || std::memchr(a->path, 0, sizeof a->path) == nullptr))
    return Bad{"a question for a name without a path"};
  return m;
}

Message names_facts(std::span<const std::byte> bytes) {
  NamesMessage m;
  if (bytes.size() < sizeof m.head || bytes.size() > sizeof m.head + kMaxNames)
    return Bad{"a NamesFacts of a wrong size"};
  std::memcpy(static_cast<void*>(&m.head), bytes.data(), sizeof m.head);
  m.batch = bytes.subspan(sizeof m.head);
  return m;
}

}  // namespace

std::vector<std::byte> bytes_of(const LoadMessage& m) { return list_bytes(m, m.entries); }
std::vector<std::byte> bytes_of(const GuestsMessage& m) { return list_bytes(m, m.reports); }

Message parse(std::span<const std::byte> bytes) {
  Header h{};
  if (bytes.size() < sizeof h) return Bad{"a message too short for a header"};
  std::memcpy(&h, bytes.data(), sizeof h);
  if (h.version != kVersion) return Bad{"another version: all nodes must run one release"};
  if (h.bytes != bytes.size()) return Bad{"a message whose length is not what it says"};
  Message m = Bad{"a message of an unknown type"};
  switch (h.type) {
    case Type::Gossip: return gossip(bytes);
    case Type::OpenRequest: return open_request(bytes);
    case Type::OpenReply:
      m = whole<OpenReply>(bytes);
      clean_why<OpenReply>(m);
      return m;
    case Type::OpenAck: return whole<OpenAck>(bytes);
    case Type::Mark:
      m = whole<Mark>(bytes);
      clean_why<Mark>(m);
      return m;
    case Type::Abort:
      m = whole<Abort>(bytes);
      clean_why<Abort>(m);
      return m;
    case Type::Rpc: return rpc(bytes);
    case Type::Pause: return whole<Pause>(bytes);
    case Type::Load: return load(bytes);
    case Type::Guest: return guest(bytes);
    case Type::Guests: return guests(bytes);
    case Type::Bye: return whole<Bye>(bytes);
    case Type::View: return view(bytes);
    case Type::NamesAsk: return names_ask(bytes);
    case Type::NamesFacts: return names_facts(bytes);
    case Type::NamesReset: return whole<NamesReset>(bytes);
  }
  return m;
}

}  // namespace hpcvmm::daemon::peer
