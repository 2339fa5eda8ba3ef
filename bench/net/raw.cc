// hpc-vmm-net-raw: one end of a raw measurement; raw.py runs two of them and makes the table.
//
//   hpc-vmm-net-raw --driver udp|tcp|"DPDK PORTS" --local IP:PORT --peer IP:PORT --role
//   send|receive|ask|answer
//                   [--seconds S] [--block]
//
// Prints one line of JSON.  --block sleeps at the first empty poll instead of polling for a while first.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "bench/net/raw_end.hh"
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
};

void print(const bench::Figures& f) {
  std::printf("{\"pages\": %lu, \"seconds\": %.6f, \"median_us\": %.3f, \"cpu\": %.3f, \"lost\": %lu}\n",
              static_cast<unsigned long>(f.pages), f.seconds, f.median_us, f.cpu,
              static_cast<unsigned long>(f.lost));
}

std::unique_ptr<net::Driver> make_driver(const Options& options, const net::Address& local,
                                         const net::Clock& clock) {
  if (options.driver == "udp") {
    auto udp = net::UdpDriver::create({.bind = local});
    if (udp) return *std::move(udp);
    std::fprintf(stderr, "hpc-vmm-net-raw: %s: error %d\n", udp.error().op, udp.error().code);
    return nullptr;
  }
  std::string why;
  const auto ports = net::dpdk::parse_ports(options.driver, why);
  if (ports) {
    net::dpdk::DriverConfig config;
    config.address = local;
    config.ports = *ports;
    config.file_prefix = "hpcvmm-raw-" + std::to_string(::getpid());
    auto driver = net::dpdk::make_dpdk_driver(config, clock, why);
    if (driver) return *std::move(driver);
  }
  std::fprintf(stderr, "hpc-vmm-net-raw: %s\n", why.c_str());
  return nullptr;
}

int run(const Options& options) {
  const auto local = net::Address::parse(options.local);
  const auto peer = net::Address::parse(options.peer);
  if (!local || !peer) {
    std::fprintf(stderr, "hpc-vmm-net-raw: --local and --peer should be like 10.0.0.1:7000\n");
    return 2;
  }
  if (options.driver == "tcp") {
    print(options.role == "send" ? bench::tcp_send(*peer, options.seconds) : bench::tcp_receive(*local));
    return 0;
  }
  const net::SystemClock clock;
  const auto driver = make_driver(options, *local, clock);
  if (!driver) return 1;
  net::WaiterTuning tuning;
  if (options.block) tuning = {.spin_polls = 0, .spin_time = 0};
  auto waiter = net::Waiter::create(*driver, clock, tuning);
  if (!waiter) return 1;
  const bench::EndConfig config{.peer = *peer, .seconds = options.seconds};
  if (options.role == "send") print(bench::send_pages(*driver, *waiter, config));
  if (options.role == "receive") print(bench::receive_pages(*driver, *waiter, config));
  if (options.role == "ask") print(bench::ask_pages(*driver, *waiter, config));
  if (options.role == "answer") print(bench::answer_pages(*driver, *waiter, config));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app{"One end of a raw network measurement; bench/net/raw.py runs two"};
  app.add_option("--driver", options.driver, "udp, tcp, or DPDK ports")->required();
  app.add_option("--local", options.local, "our address")->required();
  app.add_option("--peer", options.peer, "the other end's")->required();
  app.add_option("--role", options.role)
      ->required()
      ->check(CLI::IsMember({"send", "receive", "ask", "answer"}));
  app.add_option("--seconds", options.seconds)->check(CLI::Range(0.01, 600.0));
  app.add_flag("--block", options.block, "sleep at the first empty poll");
  CLI11_PARSE(app, argc, argv);
  return run(options);
}
