#include "daemon/local_codec.hh"

#include <cstring>

namespace hpcvmm::daemon {

namespace local = wire::local;

namespace {

/// The message if it has exactly its size.
template <class T> bool take(std::span<const std::byte> datagram, T& to) {
  if (datagram.size() != sizeof(T)) return false;
  std::memcpy(static_cast<void*>(&to), datagram.data(), sizeof(T));
  return true;
}

template <std::size_t N> void clean(char (&text)[N]) { set_text(text, get_text(text)); }

bool good_channel(std::uint32_t channel) { return channel >= 1 && channel <= 65535; }
bool good(local::EngineKind e) { return e == local::EngineKind::Kvm || e == local::EngineKind::Direct; }

/// nullptr: nothing.
const char* wrong_with(const local::Settings& s) {
  if (s.kind > local::Kind::Io || s.decay > local::Decay::None || s.mask_mode > local::MaskMode::Deny)
    return "settings of a kind that does not exist";
  if (s.given > 1 || s.locked > 1 || s.home_only > 1) return "a setting that is neither 0 nor 1";
  if (s.run_on > 65535) return "settings with a node beyond 65535";
  if (s.mask_count > local::kMostMaskNodes) return "a mask of too many nodes";
  for (std::uint16_t i = 0; i < s.mask_count; ++i)
    if (s.mask_nodes[i] == 0) return "a mask with node 0";
  return nullptr;
}

LocalMessage parse_register(std::span<const std::byte> datagram) {
  local::Register m;
  if (!take(datagram, m)) return BadMessage{"Register of a wrong size"};
  if (m.role != local::Role::Deputy && m.role != local::Role::Remote && m.role != local::Role::Share)
    return BadMessage{"unknown role"};
  if (!good(m.engine)) return BadMessage{"unknown engine"};
  if (const char* wrong = wrong_with(m.settings)) return BadMessage{wrong};
  clean(m.comm);
  clean(m.exe);
  return m;
}

LocalMessage parse_state(std::span<const std::byte> datagram) {
  local::State m;
  if (!take(datagram, m)) return BadMessage{"State of a wrong size"};
  clean(m.cantmove);
  return m;
}

LocalMessage parse_mappings(std::span<const std::byte> datagram) {
  local::Mappings m;
  if (!take(datagram, m)) return BadMessage{"Mappings of a wrong size"};
  if (m.count > local::kMappingsInOne || m.first > local::kMostMappings - m.count ||
      m.total < m.first + m.count)
    return BadMessage{"Mappings of an impossible number"};
  for (local::Mapping& one : m.list) {
    if (one.kind > local::SharedKind::Other || one.coherent > 1)
      return BadMessage{"a mapping of a kind that does not exist"};
    if (one.end < one.begin) return BadMessage{"a mapping that ends before it begins"};
    clean(one.name);
    clean(one.why);
  }
  return m;
}

LocalMessage parse_held(std::span<const std::byte> datagram) {
  local::Held m;
  if (!take(datagram, m)) return BadMessage{"Held of a wrong size"};
  if (m.count > local::kMostHeld) return BadMessage{"Held of too many"};
  return m;
}

LocalMessage parse_open(std::span<const std::byte> datagram) {
  local::Open m;
  if (!take(datagram, m)) return BadMessage{"Open of a wrong size"};
  if (!good_channel(m.channel)) return BadMessage{"Open of a channel outside 1 to 65535"};
  if (!good(m.engine)) return BadMessage{"unknown engine"};
  clean(m.comm);
  return m;
}

LocalMessage parse_close(std::span<const std::byte> datagram) {
  local::Close m;
  if (!take(datagram, m)) return BadMessage{"Close of a wrong size"};
  if (!good_channel(m.channel)) return BadMessage{"Close of a channel outside 1 to 65535"};
  return m;
}

LocalMessage parse_affinity(std::span<const std::byte> datagram) {
  local::Affinity m;
  if (!take(datagram, m)) return BadMessage{"Affinity of a wrong size"};
  return m;
}

LocalMessage parse_move_done(std::span<const std::byte> datagram) {
  local::MoveDone m;
  if (!take(datagram, m)) return BadMessage{"MoveDone of a wrong size"};
  clean(m.why);
  return m;
}

/// Paths stay as they are: they are opened, not shown.  They end in the message, and are absolute.
bool good_path(const char (&path)[local::kMaxFilePath]) {
  return path[0] == '/' && std::memchr(path, 0, sizeof path) != nullptr;
}

LocalMessage parse_file_seen(std::span<const std::byte> datagram) {
  local::FileSeen m;
  if (!take(datagram, m)) return BadMessage{"FileSeen of a wrong size"};
  if (!good_path(m.path)) return BadMessage{"FileSeen without a path"};
  return m;
}

LocalMessage parse_file_ask(std::span<const std::byte> datagram) {
  local::FileAsk m;
  if (!take(datagram, m)) return BadMessage{"FileAsk of a wrong size"};
  if (!good_path(m.path)) return BadMessage{"FileAsk without a path"};
  return m;
}

LocalMessage parse_names_ask(std::span<const std::byte> datagram) {
  local::NamesAsk m;
  if (!take(datagram, m)) return BadMessage{"NamesAsk of a wrong size"};
  if (!good_path(m.path)) return BadMessage{"NamesAsk without a path"};
  return m;
}

LocalMessage parse_names_hold(std::span<const std::byte> datagram) {
  local::NamesHold m;
  if (!take(datagram, m)) return BadMessage{"NamesHold of a wrong size"};
  return m;
}

}  // namespace

std::string clean_text(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte > 0x7e) c = '?';
  }
  return out;
}

LocalMessage parse_local(std::span<const std::byte> datagram) {
  local::Header header{};
  if (datagram.size() < sizeof header || datagram.size() > local::kMaxMessage)
    return BadMessage{"a message of an impossible size"};
  std::memcpy(&header, datagram.data(), sizeof header);
  if (header.version != local::kVersion)
    return BadMessage{"another version of the protocol: hpc-vmm and hpcd must be of one release"};
  if (header.bytes != datagram.size()) return BadMessage{"a message whose length is not what it says"};
  switch (header.type) {
    case local::Type::Register: return parse_register(datagram);
    case local::Type::State: return parse_state(datagram);
    case local::Type::Adopt: {
      local::Header adopt{};
      if (!take(datagram, adopt)) return BadMessage{"Adopt of a wrong size"};
      return Adopt{};
    }
    case local::Type::Mappings: return parse_mappings(datagram);
    case local::Type::Held: return parse_held(datagram);
    case local::Type::Open: return parse_open(datagram);
    case local::Type::Close: return parse_close(datagram);
    case local::Type::FileSeen: return parse_file_seen(datagram);
    case local::Type::FileAsk: return parse_file_ask(datagram);
    case local::Type::NamesAsk: return parse_names_ask(datagram);
    case local::Type::NamesHold: return parse_names_hold(datagram);
    case local::Type::MoveDone: return parse_move_done(datagram);
    case local::Type::Affinity: return parse_affinity(datagram);
    default: return BadMessage{"a message of a type that VMM processes do not send"};
  }
}

}  // namespace hpcvmm::daemon
