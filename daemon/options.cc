#include "daemon/options.hh"

namespace hpcvmm::daemon {

void describe(CLI::App& app, Options& to) {
  app.name("hpcd");
  app.description("the daemon of hpc-vmm, one per node: network, membership, the processes that move");
  app.set_version_flag("--version", "hpcd " HPCVMM_VERSION, "print the version, and end");
  app.add_option("--config", to.config, "the configuration file")->type_name("FILE")->capture_default_str();
  app.add_flag("--check", to.check,
               "read the configuration and the key, say what is wrong with them, and end");
  app.add_flag("--keys", to.keys, "print the keys of the configuration file, each with what it is, and end");
  app.add_flag("--drivers", to.drivers, "print the network drivers this executable has, and end");
  app.footer(
      "It runs in the foreground and logs to stderr. SIGTERM and SIGINT end it: processes come home first.\n"
      "Exit status: 0 ended in order, 1 could not start, 2 wrong configuration, 3 its number belongs to "
      "another node.");
}

}  // namespace hpcvmm::daemon
