// The configuration file of hpcd: /etc/hpc-vmm.toml or --config FILE.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "hpcvmm/wire/local.hh"

namespace hpcvmm::daemon {

using wire::local::Node;

/// Nodes are numbered up to this: circuits, tables and CPU numbers are sized for it.
inline constexpr Node kMaxNode = 65535;

struct Seed {
  Node id = 0;          ///< 0: not known
  std::string address;  ///< "10.0.0.2:7200"
  bool operator==(const Seed&) const = default;
};

struct Config {
  Node node = 0;  ///< 0: found by discovery or in the map
  std::string address;
  std::vector<Seed> seeds;
  bool discover = true;                 ///< by multicast
  std::vector<std::string> interfaces;  ///< for it; empty: all
  std::vector<std::string> multicast{"239.193.72.1:7201", "[ff02::4850:4356]:7201"};
  std::string map;  ///< openMosix's map file
  std::string
      state_dir;  ///< what is remembered across restarts, settings too; default run_dir, or /var/lib/hpc-vmm
  std::string key_file;
  std::string driver = "udp";
  std::string devargs;       ///< the DPDK driver's
  std::string faults;        ///< faults injected into the driver, for tests
  double cpus = 0;           ///< offered; 0: all that this process may use
  std::uint64_t memory = 0;  ///< bytes offered; 0: all of the machine
  std::string run_dir;       ///< default /run/hpc-vmm/NODE; empty as long as NODE is not known
  std::string remote_user = "nobody";
  std::string remote;   ///< the executable of remotes; default: hpc-vmm beside hpcd
  std::string metrics;  ///< "127.0.0.1:PORT", the path of a Unix socket, or nothing
  std::string log_level = "info";
  bool log_json = false;
  unsigned shutdown_seconds = 10;  ///< to bring processes home in
  unsigned spare_remotes = 2;      ///< at most so many of an engine are kept ready
  std::string policy = "mosix";    ///< of the balancer, until people set another
  bool shared_machine = false;     ///< other nodes run on this machine: what is not ours is not counted
  std::string speed_file;          ///< where the measured speed is noted; default in state_dir
  std::string record;              ///< the balancer's decisions are written there; none
  bool operator==(const Config&) const = default;
};

/// A key of the file, as it is read and as people are told of it: hpcd --keys, hpc-vmm.toml(5), README.md.
struct ConfigKey {
  std::string name, kind;            ///< kind: "string"
  std::string value;                 ///< in TOML
  bool usual = false;                ///< `value` is what it is when it is not set; else an example
  std::string text;                  ///< one line, no full stop
  std::vector<std::string> choices;  ///< all that it may be; empty: anything
  std::int64_t least = 0, most = 0;  ///< of a whole number
  bool required = false;
};
/// All that parse_config takes, in the order in which they are told.  From any thread.
std::vector<ConfigKey> config_keys();
/// They as a file, each with its text as a comment; parse_config takes it.
std::string config_listing();

/// Why a file or an argument was refused: one line for people, naming the place and the remedy.
struct Refusal {
  std::string text;
};

/// `name` is for messages.  Pure.
std::variant<Config, Refusal> parse_config(std::string_view toml, const std::string& name);
std::variant<Config, Refusal> read_config(const std::string& path);

/// "2G", "512M", plain bytes; 0: not a size.
std::uint64_t parse_size(std::string_view text);

using ClusterKey = std::array<std::uint8_t, 32>;
/// Refuses a key file that is not exactly 32 bytes, or that anybody but its owner (us or root) may read.
std::variant<ClusterKey, Refusal> read_key(const std::string& path);

}  // namespace hpcvmm::daemon
