#include "daemon/link.hh"

#include <cerrno>
#include <cstring>

#include "daemon/log.hh"
#include "net/driver/dpdk/dpdk_driver.hh"
#include "net/driver/faulty/faulty.hh"
#include "net/driver/udp/udp.hh"

namespace hpcvmm::daemon {

struct Link::Impl {
  std::unique_ptr<net::FaultyDriver> driver;
};

Link::Link() = default;
Link::Link(Link&&) noexcept = default;
Link& Link::operator=(Link&&) noexcept = default;
Link::~Link() = default;

namespace {

using Opened = std::variant<std::unique_ptr<net::Driver>, Refusal>;

Opened open_udp(const Config& config, const net::Address& address) {
  net::UdpConfig udp;
  udp.bind = address;
  auto driver = net::UdpDriver::create(udp);
  if (driver) return std::unique_ptr<net::Driver>(*std::move(driver));
  std::string why = "driver udp, address " + config.address + ": " + driver.error().op + ": " +
                    std::strerror(driver.error().code);
  if (driver.error().code == EADDRNOTAVAIL)
    why += "; remedy: give an address that an interface of this machine has";
  if (driver.error().code == EADDRINUSE) why += "; another program has that port, another hpcd perhaps";
  return Refusal{why};
}

Opened open_dpdk(const Config& config, const net::Address& address, const net::Clock& clock) {
  std::string why;
  auto ports = net::dpdk::parse_ports(config.devargs, why);
  if (!ports) return Refusal{"devargs = \"" + config.devargs + "\": " + why};
  if (ports->empty())
    return Refusal{"driver = \"dpdk\" needs devargs, such as \"net_af_packet0,iface=eth1\""};
  net::dpdk::DriverConfig dpdk;
  dpdk.address = address;
  dpdk.ports = *std::move(ports);
  // Two nodes of one machine must not share DPDK's run-time files.
  dpdk.file_prefix = "hpc-vmm";
  for (const char c : config.run_dir) dpdk.file_prefix += c == '/' ? '-' : c;
  dpdk.warn = [](std::string_view text) { log::warning(text); };
  auto driver = net::dpdk::make_dpdk_driver(dpdk, clock, why);
  if (driver) return *std::move(driver);
  return Refusal{"driver dpdk: " + why};
}

}  // namespace

std::string driver_names() { return "udp dpdk"; }

std::variant<Link, Refusal> Link::open(const Config& config, const net::Clock& clock) {
  const auto address = net::Address::parse(config.address);
  if (!address || address->port == 0)
    return Refusal{"address = \"" + config.address + "\" is not like 10.0.0.1:7200"};
  net::Faults faults;
  std::string problem;
  if (!net::Faults::parse(config.faults, faults, problem))
    return Refusal{"faults = \"" + config.faults + "\": " + problem};
  Opened inner = config.driver == "dpdk" ? open_dpdk(config, *address, clock) : open_udp(config, *address);
  if (auto* const refusal = std::get_if<Refusal>(&inner)) return *refusal;
  auto driver = net::FaultyDriver::create(std::get<0>(std::move(inner)), clock, faults);
  if (!driver) return Refusal{std::string("cannot start: ") + driver.error().op};
  Link link;
  link.impl_ = std::make_unique<Impl>();
  link.impl_->driver = *std::move(driver);
  return link;
}

net::Driver& Link::driver() { return *impl_->driver; }

std::string Link::set_faults(const std::string& spec) {
  net::Faults faults;
  std::string problem;
  if (!net::Faults::parse(spec, faults, problem)) return "faults: " + problem;
  impl_->driver->set(faults);
  return {};
}

}  // namespace hpcvmm::daemon
