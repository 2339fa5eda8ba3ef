#include "bench/net/end_main.hh"

#include <unistd.h>

#include <cstdio>

#include "net/driver/dpdk/dpdk_driver.hh"
#include "net/driver/udp/udp.hh"

namespace hpcvmm::bench {
namespace {

std::unique_ptr<net::Driver> make_driver(const char* name, const EndOptions& options,
                                         const net::Address& local, const net::Clock& clock) {
  if (options.driver == "udp") {
    auto udp = net::UdpDriver::create({.bind = local});
    if (udp) return *std::move(udp);
    std::fprintf(stderr, "%s: %s: error %d\n", name, udp.error().op, udp.error().code);
    return nullptr;
  }
  std::string why;
  const auto ports = net::dpdk::parse_ports(options.driver, why);
  if (ports) {
    net::dpdk::DriverConfig config;
    config.address = local;
    config.ports = *ports;
    config.file_prefix = name + ("-" + std::to_string(::getpid()));
    auto driver = net::dpdk::make_dpdk_driver(config, clock, why);
    if (driver) return *std::move(driver);
  }
  std::fprintf(stderr, "%s: %s\n", name, why.c_str());
  return nullptr;
}

}  // namespace

void add_options(CLI::App& app, EndOptions& options) {
  app.add_option("--driver", options.driver, "udp, tcp (raw only), or DPDK ports")->required();
  app.add_option("--local", options.local, "our address")->required();
  app.add_option("--peer", options.peer, "the other end's")->required();
  app.add_option("--role", options.role)
      ->required()
      ->check(CLI::IsMember({"send", "receive", "ask", "answer"}));
  app.add_option("--seconds", options.seconds)->check(CLI::Range(0.01, 600.0));
  app.add_flag("--block", options.block, "sleep at the first empty poll");
}

int open_end(const char* name, const EndOptions& options, const net::Clock& clock, OpenEnd& end) {
  const auto local = net::Address::parse(options.local);
  const auto peer = net::Address::parse(options.peer);
  if (!local || !peer) {
    std::fprintf(stderr, "%s: --local and --peer should be like 10.0.0.1:7000\n", name);
    return 2;
  }
  end.local = *local;
  end.peer = *peer;
  if (options.driver == "tcp") return 0;
  end.driver = make_driver(name, options, *local, clock);
  if (!end.driver) return 1;
  net::WaiterTuning tuning;
  if (options.block) tuning = {.spin_polls = 0, .spin_time = 0};
  auto waiter = net::Waiter::create(*end.driver, clock, tuning);
  if (!waiter) return 1;
  end.waiter.emplace(*std::move(waiter));
  return 0;
}

void print(const Figures& f) {
  std::printf("{\"pages\": %lu, \"seconds\": %.6f, \"median_us\": %.3f, \"cpu\": %.3f, \"lost\": %lu}\n",
              static_cast<unsigned long>(f.pages), f.seconds, f.median_us, f.cpu,
              static_cast<unsigned long>(f.lost));
}

}  // namespace hpcvmm::bench
