// The command line of hpcd: apart from main(), so that its man page is made of it.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace hpcvmm::daemon {

struct Options {
  std::string config = "/etc/hpc-vmm.toml";
  bool check = false;
  bool keys = false;
  bool drivers = false;
};

/// Declares the options on `app`, which writes into `to` when it parses: `to` must live as long.
void describe(CLI::App& app, Options& to);

}  // namespace hpcvmm::daemon
