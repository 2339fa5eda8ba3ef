// What the mains of both measuring ends have in common: options, driver, waiter, the line that is printed.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <string>

#include "bench/net/raw_end.hh"

namespace hpcvmm::bench {

struct EndOptions {
  std::string driver;
  std::string local;
  std::string peer;
  std::string role;
  double seconds = 1;
  bool block = false;
};
void add_options(CLI::App& app, EndOptions& options);

/// An end with its driver open.
struct OpenEnd {
  std::unique_ptr<net::Driver> driver;
  std::optional<net::Waiter> waiter;
  net::Address local, peer;
};
/// `name` of the program, for messages and DPDK's files.  With `driver` "tcp" only the addresses are filled
/// in. Returns the exit status of a failure, which has been said; 0: it is open.
int open_end(const char* name, const EndOptions& options, const net::Clock& clock, OpenEnd& end);

void print(const Figures& f);

}  // namespace hpcvmm::bench
