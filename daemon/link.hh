// The driver that the configuration names, ready for the transport.
#pragma once

#include <memory>
#include <string>
#include <variant>

#include "daemon/config.hh"
#include "net/driver/clock.hh"
#include "net/driver/driver.hh"

namespace hpcvmm::daemon {

/// The drivers this executable has, for `hpcd --drivers`.
std::string driver_names();

class Link {
 public:
  Link();
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;
  Link(Link&&) noexcept;
  Link& operator=(Link&&) noexcept;
  ~Link();

  /// Refusals name what the driver lacks and the remedy.
  static std::variant<Link, Refusal> open(const Config& config, const net::Clock& clock);

  net::Driver& driver();
  /// Faults from now on; empty: none.  Empty result: done; else what is wrong with `spec`.
  std::string set_faults(const std::string& spec);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hpcvmm::daemon
