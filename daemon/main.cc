// hpcd: one per node.
#include <cstdio>
#include <string>

#include "daemon/hpcd.hh"
#include "daemon/log.hh"
#include "daemon/options.hh"
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
  CLI::App app;
  hpcvmm::daemon::Options options;
  hpcvmm::daemon::describe(app, options);
  CLI11_PARSE(app, argc, argv);
  if (options.drivers) {
    std::puts(hpcvmm::daemon::driver_names().c_str());
    return 0;
  }
  if (options.keys) {
    std::fputs(hpcvmm::daemon::config_listing().c_str(), stdout);
    return 0;
  }
  return run(options.config, options.check);
}
