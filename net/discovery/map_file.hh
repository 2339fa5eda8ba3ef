// openMosix's map file: which nodes there are and where.  /etc/hpc.map, /etc/mosix.map, /etc/openmosix.map.
//
//     # id  address or host  range
//     1     192.168.1.1      30      nodes 1 to 30, at 192.168.1.1 to .30
//     31    fileserver       1
//     31    192.168.2.7      ALIAS   another address of node 31 (0 means the same)
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "net/discovery/packet.hh"

namespace hpcvmm::net::discovery {

struct MapEntry {
  NodeId node = 0;
  std::vector<Address> addresses;  ///< the first is the node's, the others its aliases; at least one
  std::string host;                ///< as the file names it, if not by address
};

struct MapError {
  unsigned line = 0;  ///< 0: of the whole file
  std::string text;   ///< what is wrong and the remedy, without the line
};

/// Turns the name of a host into an address; nothing: unknown.
using Resolve = std::function<std::optional<Address>(const std::string& host)>;

/// Entries, by number.  Lines at most: 256 in openMosix, 65536 here.  `port` is given to all addresses. Pure
/// but for `resolve`.
std::variant<std::vector<MapEntry>, MapError> parse_map(std::string_view text, std::uint16_t port,
                                                        const Resolve& resolve);
/// In the text of /etc/hosts.  Pure.
std::optional<Address> find_host(std::string_view hosts, const std::string& host);
/// With the system's resolver; may take seconds.  Not in the static hpc-vmm (resolve.cc).
std::optional<Address> resolve_host(const std::string& host);

/// A map file's text of nodes and addresses; neighbours in both number and address become one range.
std::string map_text(const std::vector<MapEntry>& entries);

/// The number of the node that has one of `own` addresses (ports do not matter); 0: none.
NodeId find_own(const std::vector<MapEntry>& entries, const std::vector<Address>& own);
/// The addresses of this machine.
std::vector<Address> own_addresses();

/// The first of /etc/openmosix.map, /etc/mosix.map and /etc/hpc.map that exists; empty: none.
std::string usual_map_path();

}  // namespace hpcvmm::net::discovery
