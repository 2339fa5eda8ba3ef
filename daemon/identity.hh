// Which node this machine is: its number, remembered across restarts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "daemon/config.hh"
#include "net/discovery/packet.hh"

namespace hpcvmm::daemon {

struct Identity {
  std::uint64_t machine = 0;  ///< random, made once
  std::uint64_t life = 0;     ///< this start, milliseconds of the calendar clock; always later than the last
  Node node = 0;              ///< the number it has
  std::uint32_t attempt = 0;  ///< how many proposals had been taken
};

/// The text of the state file; nothing: it is not one.  Pure.
std::optional<Identity> parse_identity(std::string_view text);
std::string identity_text(const Identity& identity);

/// The number a node without one proposes: the low 16 bits of its address, as openMosix's omdiscd; if those
/// are taken, numbers that follow from machine and attempt.  Pure.
Node proposed_number(const net::Address& address, std::uint64_t machine, std::uint32_t attempt);

/// Reads the map, remembers and finds out who this node is, and writes that into `config` (node, run_dir,
/// seeds).  Takes up to a second where a number has to be found.
std::variant<Identity, Refusal> settle_identity(Config& config, const ClusterKey& key);

/// After the number was found to be taken: the next start proposes another one.  Only where the configuration
/// gives none.
void forget_number(const Config& config, const Identity& identity);

}  // namespace hpcvmm::daemon
