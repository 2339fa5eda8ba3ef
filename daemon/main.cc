// hpcd: one per node.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "daemon/hpcd.hh"
#include "daemon/log.hh"
#include "daemon/system.hh"

namespace {

int refuse(const std::string& why) {
  std::fprintf(stderr, "hpcd: %s\n", why.c_str());
  return 2;
}

int run(const std::string& path, bool check_only) {
  using namespace hpcvmm::daemon;
  const auto read = read_config(path);
  if (const auto* const refusal = std::get_if<Refusal>(&read)) return refuse(refusal->text);
  Config config = std::get<Config>(read);
  auto key = read_key(config.key_file);
  if (const auto* const refusal = std::get_if<Refusal>(&key)) return refuse(refusal->text);
  if (check_only) return 0;
  log::start(config.log_level, config.log_json, config.node);
  raise_limits();
  take_precedence();
  auto settled = settle_identity(config, std::get<ClusterKey>(key));
  if (const auto* const refusal = std::get_if<Refusal>(&settled)) {
    log::error(refusal->text);
    return 1;
  }
  const bool found_number = std::get<Config>(read).node == 0;
  if (found_number) log::start(config.log_level, config.log_json, config.node);
  auto hpcd = Hpcd::create(config, std::get<Identity>(settled), found_number, std::get<ClusterKey>(key));
  std::get<ClusterKey>(key).fill(0);
  if (const auto* const refusal = std::get_if<Refusal>(&hpcd)) {
    log::error(refusal->text);
    return 1;
  }
  if (const hpcvmm::Status dropped = drop_rights(); !dropped) {
    log::error(std::string("cannot give up rights: ") + dropped.error().op);
    return 1;
  }
  return std::get<std::unique_ptr<Hpcd>>(hpcd)->run();
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"The daemon of hpc-vmm, one per node: network, membership, the processes that move.", "hpcd"};
  app.set_version_flag("--version", "hpcd " HPCVMM_VERSION);
  std::string path = "/etc/hpc-vmm.toml";
  bool check = false;
  bool drivers = false;
  app.add_option("--config", path, "the configuration file")->capture_default_str();
  app.add_flag("--check", check, "read the configuration and the key, say what is wrong with them, and end");
  app.add_flag("--drivers", drivers, "print the network drivers this executable has, and end");
  app.footer(
      "Exit status: 0 ended in order, 1 could not start, 2 wrong configuration, 3 its number belongs to "
      "another\n"
      "node.");
  CLI11_PARSE(app, argc, argv);
  if (drivers) {
    std::puts(hpcvmm::daemon::driver_names().c_str());
    return 0;
  }
  return run(path, check);
}
