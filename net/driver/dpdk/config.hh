// What a DPDK driver is told when it is made.  Includes nothing of DPDK, so that whoever configures a node
// need not either.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net/driver/address.hh"

namespace hpcvmm::net::dpdk {

/// One DPDK port, as "NAME,KEY=VALUE,...": NAME is a virtual device of DPDK (net_af_packet0, net_memif2,
/// net_af_xdp0...) or a PCI address (0000:3b:00.0); the keys are the device's own, and
///   peer=IP     whoever is the only one at the other end: the frames to IP leave by this port, without ARP.
/// What a device needs and is not given is filled in: frame and buffer sizes by MTU, qdisc_bypass,
/// socket-abstract=no...
struct PortConfig {
  std::string device;                       ///< "net_memif0"
  std::map<std::string, std::string> keys;  ///< of the device
  std::optional<std::uint32_t> peer;        ///< IPv4, host byte order

  /// "net_memif": the device without its number; "pci" for a PCI address.
  [[nodiscard]] std::string kind() const;
  /// "net_memif0,role=...": what DPDK is given.
  [[nodiscard]] std::string devargs() const;
};

/// Reads one port.  Nothing: `why` says what is wrong with it and what would be right.
std::optional<PortConfig> parse_port(std::string_view text, std::string& why);
/// Reads ports separated by white space or semicolons.
std::optional<std::vector<PortConfig>> parse_ports(std::string_view text, std::string& why);

/// The port between node `self` and node `peer` of a cluster on one machine: shared memory (net_memif), its
/// socket in `folder`, which must exist and be the same for both.  `index` makes the device's name unique in
/// this process.
PortConfig memif_port(const std::string& folder, std::uint32_t self, std::uint32_t peer,
                      std::uint32_t peer_ip, unsigned index);

struct DriverConfig {
  /// Ours: IPv4 and the UDP port.  On an Ethernet port the interface need not have it: we answer ARP
  /// ourselves.
  Address address;
  /// Of the net of the port without peer=; addresses outside it go to `gateway`.
  unsigned prefix_bits = 24;
  std::optional<std::uint32_t> gateway;  ///< IPv4, host byte order
  std::vector<PortConfig> ports;
  /// Distinguishes the processes of one machine for DPDK: [A-Za-z0-9_.-].
  std::string file_prefix = "hpc-vmm";
  /// Payload of a datagram, at most; 0: as much as the ports take, up to kDefaultPayload.
  std::uint32_t max_payload = 0;
  /// DPDK's memory in MiB, for all drivers of the process: address space that is filled as it is used.
  unsigned memory_mib = 256;
  /// Take it from reserved huge pages (vm.nr_hugepages): cards want that, virtual devices gain nothing.
  bool huge_pages = false;
  /// Hears what is not an error but should be known, such as an interface that is down.
  std::function<void(std::string_view)> warn;
};

/// Two pages, a message header and what a transport adds: what an MTU of 9000 takes.
inline constexpr std::uint32_t kDefaultPayload = 9000 - 28;

}  // namespace hpcvmm::net::dpdk
