// hpc-vmm-net-raw: one end of a raw measurement; raw.py runs two of them and makes the table.
//
//   hpc-vmm-net-raw --driver udp|tcp|"DPDK PORTS" --local IP:PORT --peer IP:PORT --role
//   send|receive|ask|answer
//                   [--seconds S] [--block]
//
// Prints one line of JSON.  --block sleeps at the first empty poll instead of polling for a while first.
#include <CLI/CLI.hpp>

#include "bench/net/end_main.hh"

namespace {

using namespace hpcvmm;  // NOLINT(google-build-using-namespace): a program of its own

int run(const bench::EndOptions& options) {
  const net::SystemClock clock;
  bench::OpenEnd end;
  if (const int status = bench::open_end("hpc-vmm-net-raw", options, clock, end)) return status;
  if (options.driver == "tcp") {
    bench::print(options.role == "send" ? bench::tcp_send(end.peer, options.seconds)
                                        : bench::tcp_receive(end.local));
    return 0;
  }
  const bench::EndConfig config{.peer = end.peer, .seconds = options.seconds};
  bench::Figures f;
  if (options.role == "send") f = bench::send_pages(*end.driver, *end.waiter, config);
  if (options.role == "receive") f = bench::receive_pages(*end.driver, *end.waiter, config);
  if (options.role == "ask") f = bench::ask_pages(*end.driver, *end.waiter, config);
  if (options.role == "answer") f = bench::answer_pages(*end.driver, *end.waiter, config);
  bench::print(f);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  bench::EndOptions options;
  CLI::App app{"One end of a raw network measurement; bench/net/raw.py runs two"};
  bench::add_options(app, options);
  CLI11_PARSE(app, argc, argv);
  return run(options);
}
