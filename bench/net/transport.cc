// hpc-vmm-net-transport: one end of a measurement of the transport; transport.py runs two of them beside two
// of hpc-vmm-net-raw and makes the table.
//
//   hpc-vmm-net-transport --driver udp|"DPDK PORTS" --local IP:PORT --peer IP:PORT --role
//   send|receive|ask|answer
//                         [--seconds S] [--block] [--plain|--chacha] [--verbose]
//
// Prints one line of JSON.  The active end (send, ask) is node 1.
#include <CLI/CLI.hpp>

#include "bench/net/end_main.hh"
#include "bench/net/transport_end.hh"

namespace {

using namespace hpcvmm;  // NOLINT(google-build-using-namespace): a program of its own

struct Options {
  bench::EndOptions end;
  bool plain = false;
  bool chacha = false;
  bool verbose = false;
};

int run(const Options& options) {
  const net::SystemClock clock;
  bench::OpenEnd end;
  if (const int status = bench::open_end("hpc-vmm-net-transport", options.end, clock, end)) return status;
  if (!end.driver) {
    std::fprintf(stderr, "hpc-vmm-net-transport: there is no transport over tcp\n");
    return 2;
  }
  bench::TransportEnd config;
  const std::string& role = options.end.role;
  config.end = {.peer = end.peer, .seconds = options.end.seconds};
  config.sender = role == "send" || role == "ask";
  config.verbose = options.verbose;
  if (options.plain) config.protection = net::Protection::PlainUnsafe;
  if (options.chacha) config.protection = net::Protection::ChaCha20;
  bench::Figures f;
  if (role == "send") f = bench::transport_send(*end.driver, *end.waiter, config);
  if (role == "receive") f = bench::transport_receive(*end.driver, *end.waiter, config);
  if (role == "ask") f = bench::transport_ask(*end.driver, *end.waiter, config);
  if (role == "answer") f = bench::transport_answer(*end.driver, *end.waiter, config);
  bench::print(f);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app{"One end of a measurement of the transport; bench/net/transport.py runs two"};
  bench::add_options(app, options.end);
  app.add_flag("--plain", options.plain, "neither encrypt nor authenticate");
  app.add_flag("--chacha", options.chacha, "ChaCha20-Poly1305");
  app.add_flag("--verbose", options.verbose, "what the transport counted, on stderr");
  CLI11_PARSE(app, argc, argv);
  return run(options);
}
