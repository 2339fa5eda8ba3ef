// Where a datagram comes from or goes to: an IP address and a UDP port.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace hpcvmm::net {

/// IPv6, or IPv4 as ::ffff:a.b.c.d; the port in host byte order.
struct Address {
  std::array<std::uint8_t, 16> ip{};
  std::uint16_t port = 0;

  friend bool operator==(const Address&, const Address&) = default;
  friend auto operator<=>(const Address&, const Address&) = default;

  [[nodiscard]] bool is_v4() const;
  /// The IPv4 address in host byte order; only when is_v4().
  [[nodiscard]] std::uint32_t v4() const;
  static Address from_v4(std::uint32_t ip_host_order, std::uint16_t port);
  /// "10.0.0.1:7000" or "[fd00::1]:7000"; without a port `default_port`.  Nothing: not an address (no name
  /// lookup).
  static std::optional<Address> parse(std::string_view text, std::uint16_t default_port = 0);
  [[nodiscard]] std::string text() const;
};

}  // namespace hpcvmm::net

template <> struct std::hash<hpcvmm::net::Address> {
  std::size_t operator()(const hpcvmm::net::Address& a) const noexcept;
};
