#include "net/driver/dpdk/config.hh"

#include <algorithm>

namespace hpcvmm::net::dpdk {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

/// "0000:3b:00.0" or "3b:00.0".
bool is_pci(std::string_view text) {
  return text.find(':') != std::string_view::npos && text.find('.') != std::string_view::npos &&
         std::all_of(text.begin(), text.end(), [](char c) { return is_hex(c) || c == ':' || c == '.'; });
}

bool is_device(std::string_view text) {
  const bool known = text.starts_with("net_") || text.starts_with("eth_") || text.starts_with("virtio_user");
  return known && is_digit(text.back()) && text.size() < 32 &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
         });
}

std::vector<std::string_view> split(std::string_view text, std::string_view separators) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find_first_of(separators), text.size());
    if (end != 0) parts.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

bool take_key(std::string_view part, PortConfig& port, std::string& why) {
  const std::size_t equals = part.find('=');
  if (equals == std::string_view::npos || equals == 0 || equals + 1 == part.size()) {
    why = "port " + port.device + ": \"" + std::string(part) + "\" should be KEY=VALUE";
    return false;
  }
  const std::string key(part.substr(0, equals));
  const std::string value(part.substr(equals + 1));
  if (key == "peer") {
    const auto address = Address::parse(value);
    if (!address || !address->is_v4() || address->port != 0) {
      why = "port " + port.device + ": peer=" + value + ": should be an IPv4 address such as 10.77.0.2";
      return false;
    }
    port.peer = address->v4();
    return true;
  }
  if (!port.keys.emplace(key, value).second) {
    why = "port " + port.device + ": " + key + " is given twice";
    return false;
  }
  return true;
}

}  // namespace

std::string PortConfig::kind() const {
  if (is_pci(device)) return "pci";
  std::string_view name = device;
  while (!name.empty() && is_digit(name.back())) name.remove_suffix(1);
  return std::string(name);
}

std::string PortConfig::devargs() const {
  std::string out = device;
  for (const auto& [key, value] : keys) out.append(",").append(key).append("=").append(value);
  return out;
}

std::optional<PortConfig> parse_port(std::string_view text, std::string& why) {
  const auto parts = split(text, ",");
  if (parts.empty()) {
    why = "a port is empty; it should be like net_af_packet0,iface=eth1";
    return std::nullopt;
  }
  PortConfig port;
  port.device = parts[0];
  if (!is_pci(port.device) && !is_device(port.device)) {
    why = "port \"" + port.device +
          "\": should begin with a DPDK device and its number (net_af_packet0, net_memif0) or a PCI address "
          "(0000:3b:00.0)";
    return std::nullopt;
  }
  for (std::size_t i = 1; i < parts.size(); ++i)
    if (!take_key(parts[i], port, why)) return std::nullopt;
  return port;
}

std::optional<std::vector<PortConfig>> parse_ports(std::string_view text, std::string& why) {
  std::vector<PortConfig> ports;
  for (const std::string_view part : split(text, " \t\r\n;")) {
    auto port = parse_port(part, why);
    if (!port) return std::nullopt;
    const auto same = [&](const PortConfig& other) { return other.device == port->device; };
    if (std::any_of(ports.begin(), ports.end(), same)) {
      why = "port " + port->device + " is named twice; number the devices differently";
      return std::nullopt;
    }
    ports.push_back(*std::move(port));
  }
  if (ports.empty()) {
    why = "no port is named; try net_af_packet0,iface=eth1";
    return std::nullopt;
  }
  return ports;
}

PortConfig memif_port(const std::string& folder, std::uint32_t self, std::uint32_t peer,
                      std::uint32_t peer_ip, unsigned index) {
  const std::string name =
      "memif-" + std::to_string(std::min(self, peer)) + "-" + std::to_string(std::max(self, peer)) + ".sock";
  PortConfig port;
  port.device = "net_memif" + std::to_string(index);
  port.keys = {{"role", self < peer ? "server" : "client"}, {"socket", folder + "/" + name}};
  port.peer = peer_ip;
  return port;
}

}  // namespace hpcvmm::net::dpdk
