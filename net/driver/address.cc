#include "net/driver/address.hh"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace hpcvmm::net {
namespace {

constexpr std::array<std::uint8_t, 12> kV4Prefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool parse_port(std::string_view text, std::uint16_t& port) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc{} && end == text.data() + text.size();
}

}  // namespace

bool Address::is_v4() const { return std::equal(kV4Prefix.begin(), kV4Prefix.end(), ip.begin()); }

std::uint32_t Address::v4() const {
  std::uint32_t net_order = 0;
  std::memcpy(&net_order, &ip[12], sizeof net_order);
  return ntohl(net_order);
}

Address Address::from_v4(std::uint32_t ip_host_order, std::uint16_t port) {
  Address a;
  std::copy(kV4Prefix.begin(), kV4Prefix.end(), a.ip.begin());
  const std::uint32_t net_order = htonl(ip_host_order);
  std::memcpy(&a.ip[12], &net_order, sizeof net_order);
  a.port = port;
  return a;
}

std::optional<Address> Address::parse(std::string_view text, std::uint16_t default_port) {
  std::string host(text);
  std::uint16_t port = default_port;
  bool good = true;
  if (host.starts_with('[')) {
    const std::size_t close = host.find(']');
    if (close == std::string::npos) return std::nullopt;
    const std::string behind = host.substr(close + 1);
    if (!behind.empty()) good = behind[0] == ':' && parse_port(std::string_view(behind).substr(1), port);
    host = host.substr(1, close - 1);
    if (host.find(':') == std::string::npos) return std::nullopt;
  } else if (std::count(host.begin(), host.end(), ':') == 1) {
    const std::size_t colon = host.find(':');
    good = parse_port(std::string_view(host).substr(colon + 1), port);
    host.resize(colon);
  }
  if (!good || host.find('\0') != std::string::npos) return std::nullopt;
  Address a;
  in_addr v4{};
  if (::inet_pton(AF_INET, host.c_str(), &v4) == 1) return from_v4(ntohl(v4.s_addr), port);
  if (::inet_pton(AF_INET6, host.c_str(), a.ip.data()) != 1) return std::nullopt;
  a.port = port;
  return a;
}

std::string Address::text() const {
  char out[INET6_ADDRSTRLEN] = {};
  if (is_v4()) {
    ::inet_ntop(AF_INET, &ip[12], out, sizeof out);
    return std::string(out) + ":" + std::to_string(port);
  }
  ::inet_ntop(AF_INET6, ip.data(), out, sizeof out);
  return "[" + std::string(out) + "]:" + std::to_string(port);
}

}  // namespace hpcvmm::net

std::size_t std::hash<hpcvmm::net::Address>::operator()(const hpcvmm::net::Address& a) const noexcept {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  std::memcpy(&high, &a.ip[0], sizeof high);
  std::memcpy(&low, &a.ip[8], sizeof low);
  std::uint64_t h = (high ^ 0x9e3779b97f4a7c15ULL) * 0xff51afd7ed558ccdULL;
  h = (h ^ (h >> 29) ^ low) * 0xc4ceb9fe1a85ec53ULL;
  h = (h ^ (h >> 32) ^ a.port) * 0x9e3779b97f4a7c15ULL;
  return h ^ (h >> 31);
}
