// hpc-vmm-net-transport: one end of a measurement of the transport; transport.py runs two of them beside two
// of hpc-vmm-net-raw and makes the table.
//
//   hpc-vmm-net-transport --driver udp|"DPDK PORTS" --local IP:PORT --peer IP:PORT --role
//   send|receive|ask|answer
//                         [--seconds S] [--block] [--plain|--chacha] [--verbose]
//
// Prints one line of JSON.  The active end (send, ask) is node 1.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "bench/net/transport_end.hh"
#include "net/driver/dpdk/dpdk_driver.hh"
#include "net/driver/udp/udp.hh"

namespace {

using namespace hpcvmm;  // NOLINT(google-build-using-namespace): a program of its own

struct Options {
  std::string driver;
  std::string local;
  std::string peer;
  std::string role;
  double seconds = 1;
  bool block = false;
  bool plain = false;
  bool chacha = false;
  bool verbose = false;
};

std::unique_ptr<net::Driver> make_driver(const Options& options, const net::Address& local,
                                         const net::Clock& clock) {
  if (options.driver == "udp") {
    auto udp = net::UdpDriver::create({.bind = local});
    if (udp) return *std::move(udp);
    std::fprintf(stderr, "hpc-vmm-net-transport: %s: error %d\n", udp.error().op, udp.error().code);
    return nullptr;
  }
  std::string why;
  const auto ports = net::dpdk::parse_ports(options.driver, why);
  if (ports) {
    net::dpdk::DriverConfig config;
    config.address = local;
    config.ports = *ports;
    config.file_prefix = "hpcvmm-transport-" + std::to_string(::getpid());
    auto driver = net::dpdk::make_dpdk_driver(config, clock, why);
    if (driver) return *std::move(driver);
  }
  std::fprintf(stderr, "hpc-vmm-net-transport: %s\n", why.c_str());
  return nullptr;
}

int run(const Options& options) {
  const auto local = net::Address::parse(options.local);
  const auto peer = net::Address::parse(options.peer);
  if (!local || !peer) {
    std::fprintf(stderr, "hpc-vmm-net-transport: --local and --peer should be like 10.0.0.1:7000\n");
    return 2;
  }
  const net::SystemClock clock;
  const auto driver = make_driver(options, *local, clock);
  if (!driver) return 1;
  net::WaiterTuning tuning;
  if (options.block) tuning = {.spin_polls = 0, .spin_time = 0};
  auto waiter = net::Waiter::create(*driver, clock, tuning);
  if (!waiter) return 1;
  bench::TransportEnd config;
  config.end = {.peer = *peer, .seconds = options.seconds};
  config.sender = options.role == "send" || options.role == "ask";
  config.verbose = options.verbose;
  if (options.plain) config.protection = net::Protection::PlainUnsafe;
  if (options.chacha) config.protection = net::Protection::ChaCha20;
  bench::Figures f;
  if (options.role == "send") f = bench::transport_send(*driver, *waiter, config);
  if (options.role == "receive") f = bench::transport_receive(*driver, *waiter, config);
  if (options.role == "ask") f = bench::transport_ask(*driver, *waiter, config);
  if (options.role == "answer") f = bench::transport_answer(*driver, *waiter, config);
  std::printf("{\"pages\": %lu, \"seconds\": %.6f, \"median_us\": %.3f, \"cpu\": %.3f, \"lost\": %lu}\n",
              static_cast<unsigned long>(f.pages), f.seconds, f.median_us, f.cpu,
              static_cast<unsigned long>(f.lost));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app{"One end of a measurement of the transport; bench/net/transport.py runs two"};
  app.add_option("--driver", options.driver, "udp or DPDK ports")->required();
  app.add_option("--local", options.local, "our address")->required();
  app.add_option("--peer", options.peer, "the other end's")->required();
  app.add_option("--role", options.role)
      ->required()
      ->check(CLI::IsMember({"send", "receive", "ask", "answer"}));
  app.add_option("--seconds", options.seconds)->check(CLI::Range(0.01, 600.0));
  app.add_flag("--block", options.block, "sleep at the first empty poll");
  app.add_flag("--plain", options.plain, "neither encrypt nor authenticate");
  app.add_flag("--chacha", options.chacha, "ChaCha20-Poly1305");
  app.add_flag("--verbose", options.verbose, "what the transport counted, on stderr");
  CLI11_PARSE(app, argc, argv);
  return run(options);
}
