#include "daemon/config.hh"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <functional>
#include <set>
#include <sstream>

#include "hpcvmm/base/unique_fd.hh"

// Header only and without its exceptions: a wrong file is a result, not an accident.
#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1
#include <toml++/toml.h>

namespace hpcvmm::daemon {
namespace {

/// Takes the keys of one table apart; the first complaint is kept.
class Reader {
 public:
  Reader(const toml::table& table, std::string name) : table_(table), name_(std::move(name)) {}

  template <class T> const toml::node* get(const char* key, const char* expected) {
    known_.insert(key);
    const toml::node* const node = table_.get(key);
    if (node == nullptr) return nullptr;
    if (node->is<T>()) return node;
    complain(node->source(), std::string("`") + key + "` must be " + expected);
    return nullptr;
  }
  void text(const char* key, std::string& to) {
    if (const toml::node* n = get<std::string>(key, "a string")) to = *n->value<std::string>();
  }
  template <class T> void number(const char* key, T& to, std::int64_t least, std::int64_t most) {
    const toml::node* const n = get<std::int64_t>(key, "a whole number");
    if (n == nullptr) return;
    const std::int64_t value = *n->value<std::int64_t>();
    if (value < least || value > most)
      complain(n->source(), std::string("`") + key + "` must be " + std::to_string(least) + " to " +
                                std::to_string(most) + ", not " + std::to_string(value));
    else
      to = static_cast<T>(value);
  }
  void flag(const char* key, bool& to) {
    if (const toml::node* n = get<bool>(key, "true or false")) to = *n->value<bool>();
  }
  void one_of(const char* key, std::string& to, const std::vector<std::string>& values) {
    text(key, to);
    std::string all;
    for (const std::string& v : values) {
      if (to == v) return;
      all += (all.empty() ? "" : ", ") + v;
    }
    complain(at(key), std::string("`") + key + "` must be one of " + all + ", not \"" + to + '"');
  }
  /// A key that needs another type than the functions above give.
  const toml::node* any(const char* key) {
    known_.insert(key);
    return table_.get(key);
  }
  [[nodiscard]] toml::source_region at(const char* key) const {
    const toml::node* const node = table_.get(key);
    return node != nullptr ? node->source() : table_.source();
  }
  void complain(const toml::source_region& where, const std::string& what) {
    if (!complaint.empty()) return;
    complaint = name_ + ":" + std::to_string(where.begin.line) + ": " + what;
  }
  void refuse_unknown() {
    for (const auto& [key, value] : table_) {
      if (known_.contains(std::string(key.str()))) continue;
      std::string all;
      for (const std::string& k : known_) all += (all.empty() ? "" : ", ") + k;
      complain(value.source(), "unknown key `" + std::string(key.str()) + "`; known here: " + all);
    }
  }

  [[nodiscard]] const std::string& file() const { return name_; }

  std::string complaint;

 private:
  const toml::table& table_;
  std::string name_;
  std::set<std::string> known_;
};

void read_cpus(Reader& r, double& to) {
  const toml::node* const n = r.any("cpus");
  if (n == nullptr) return;
  const std::optional<double> value = n->value<double>();
  if (!n->is_number() || *value <= 0 || *value > 65536)
    r.complain(n->source(), "`cpus` must be a number above 0, such as 2 or 0.5");
  else
    to = *value;
}

void read_memory(Reader& r, std::uint64_t& to) {
  const toml::node* const n = r.any("memory");
  if (n == nullptr) return;
  if (n->is_integer() && *n->value<std::int64_t>() > 0)
    to = static_cast<std::uint64_t>(*n->value<std::int64_t>());
  else if (n->is_string())
    to = parse_size(*n->value<std::string>());
  if (to == 0) r.complain(n->source(), "`memory` must be bytes, or a size such as \"512M\" or \"2G\"");
}

void read_texts(Reader& r, const char* key, std::vector<std::string>& to) {
  const toml::node* const n = r.get<toml::array>(key, "an array of strings");
  if (n == nullptr) return;
  to.clear();
  for (const toml::node& element : *n->as_array()) {
    if (!element.is_string())
      return r.complain(element.source(), std::string("each of `") + key + "` must be a string");
    to.push_back(*element.value<std::string>());
  }
}

/// `[[seeds]]` tables with `id` and `address`.
void read_seeds(Reader& r, Config& config) {
  const toml::node* const n =
      r.get<toml::array>("seeds", "an array of tables: [[seeds]] id = 2, address = \"...\"");
  if (n == nullptr) return;
  std::set<Node> seen;
  for (const toml::node& element : *n->as_array()) {
    const toml::table* const table = element.as_table();
    if (table == nullptr) {
      r.complain(element.source(), "each of `seeds` must be a table with `id` and `address`");
      return;
    }
    Reader one(*table, r.file());
    Seed seed;
    one.number("id", seed.id, 1, kMaxNode);
    one.text("address", seed.address);
    one.refuse_unknown();
    if (one.complaint.empty() && seed.address.empty())
      one.complain(table->source(), "this seed has no `address`, such as \"10.0.0.2:7200\"");
    if (one.complaint.empty() && seed.id != 0 && !seen.insert(seed.id).second)
      one.complain(table->source(), "node " + std::to_string(seed.id) + " is a seed twice");
    if (!one.complaint.empty()) {
      if (r.complaint.empty()) r.complaint = one.complaint;
      return;
    }
    if (seed.id == 0 || seed.id != config.node) config.seeds.push_back(seed);
  }
}

std::string read_all(const std::string& path, std::string& problem) {
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    problem = std::strerror(errno);
    return {};
  }
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

/// A key and what is done about it.
struct Row : ConfigKey {
  std::function<void(Reader&, const Row&, Config&)> read;
};

constexpr bool kUsual = true;     // the value that it has when it is not set
constexpr bool kExample = false;  // one that it could have

Row row(const char* name, const char* kind, const char* value, bool usual, const char* text,
        std::function<void(Reader&, const Row&, Config&)> read) {
  return {{name, kind, value, usual, text, {}, 0, 0, false}, std::move(read)};
}
Row text(const char* name, const char* value, bool usual, const char* told, std::string Config::*to) {
  return row(name, "string", value, usual, told,
             [to](Reader& r, const Row& k, Config& c) { r.text(k.name.c_str(), c.*to); });
}
Row required(Row of) {
  of.required = true;
  return of;
}
Row one_of(const char* name, const char* value, std::vector<std::string> choices, const char* told,
           std::string Config::*to) {
  Row out = row(name, "string", value, kUsual, told,
                [to](Reader& r, const Row& k, Config& c) { r.one_of(k.name.c_str(), c.*to, k.choices); });
  out.choices = std::move(choices);
  return out;
}
Row flag(const char* name, const char* value, const char* told, bool Config::*to) {
  return row(name, "true or false", value, kUsual, told,
             [to](Reader& r, const Row& k, Config& c) { r.flag(k.name.c_str(), c.*to); });
}
template <class T>
Row number(const char* name, const char* value, bool usual, std::int64_t least, std::int64_t most,
           const char* told, T Config::*to) {
  Row out = row(name, "whole number", value, usual, told, [to](Reader& r, const Row& k, Config& c) {
    r.number(k.name.c_str(), c.*to, k.least, k.most);
  });
  out.least = least;
  out.most = most;
  return out;
}
Row texts(const char* name, const char* value, const char* told, std::vector<std::string> Config::*to) {
  return row(name, "array of strings", value, kUsual, told,
             [to](Reader& r, const Row& k, Config& c) { read_texts(r, k.name.c_str(), c.*to); });
}

std::vector<Row> make_rows() {
  return {
      number("node", "1", kExample, 1, kMaxNode,
             "this node's number; not set: found, from the map, or the low 16 bits of the address",
             &Config::node),
      required(text("address", "\"10.0.0.1:7200\"", kExample, "what the other nodes reach it at",
                    &Config::address)),
      required(text("key", "\"/etc/hpc-vmm.key\"", kExample,
                    "32 bytes, the same on all nodes, mode 0600; whoever has them is in the cluster",
                    &Config::key_file)),
      one_of("driver", "\"udp\"", {"udp", "dpdk"}, "how packets are sent", &Config::driver),
      text("devargs", "\"\"", kUsual,
           "dpdk: its ports, \"net_af_packet0,iface=eth1\"; several are separated by ;", &Config::devargs),
      row("cpus", "number", "4", kExample, "offered, parts of one too; not set: all that hpcd may use",
          [](Reader& r, const Row&, Config& c) { read_cpus(r, c.cpus); }),
      row("memory", "bytes, or string", "\"16G\"", kExample,
          "offered to guests, with K, M, G or T; not set: all of the machine",
          [](Reader& r, const Row&, Config& c) { read_memory(r, c.memory); }),
      text("run_dir", "\"/run/hpc-vmm/1\"", kExample,
           "where vmm.sock and api.sock are; not set: /run/hpc-vmm/NODE", &Config::run_dir),
      text("remote_user", "\"nobody\"", kUsual, "who remotes run as, where hpcd is root",
           &Config::remote_user),
      text("remote", "\"\"", kUsual, "their executable; empty: hpc-vmm beside hpcd", &Config::remote),
      text("metrics", "\"127.0.0.1:9177\"", kExample,
           "for Prometheus, or the path of a Unix socket; not set: none", &Config::metrics),
      one_of("log_level", "\"info\"", {"trace", "debug", "info", "warning", "error"},
             "the least that is logged", &Config::log_level),
      flag("log_json", "false", "a line of JSON for each message", &Config::log_json),
      number("shutdown_seconds", "10", kUsual, 0, 3600, "to bring processes home in when it ends",
             &Config::shutdown_seconds),
      number("spare_remotes", "2", kUsual, 0, 64, "at most so many of an engine are kept ready; 0: none",
             &Config::spare_remotes),
      one_of("policy", "\"mosix\"", {"mosix", "static", "round-robin", "random"},
             "of the balancer, until ctl sets another", &Config::policy),
      flag("shared_machine", "false", "other nodes run on this machine: load that is not ours is not counted",
           &Config::shared_machine),
      text("speed_file", "\"\"", kUsual, "where the measured speed is noted; empty: in state_dir",
           &Config::speed_file),
      text("record", "\"\"", kUsual,
           "the balancer's decisions are appended to this file, a line of JSON each", &Config::record),
      text("faults", "\"\"", kUsual, "a bad network, for tests, \"loss=1%\"", &Config::faults),
      flag("discover", "true", "find the others by multicast", &Config::discover),
      texts("interfaces", "[]", "to find them on; empty: all", &Config::interfaces),
      texts("multicast", "[\"239.193.72.1:7201\", \"[ff02::4850:4356]:7201\"]",
            "the groups they are found in", &Config::multicast),
      text("map", "\"\"", kUsual, "openMosix's map file, such as /etc/hpc.map: its nodes are seeds",
           &Config::map),
      text("state_dir", "\"/var/lib/hpc-vmm\"", kExample,
           "for the number and what ctl has set; not set: run_dir if that is set, else /var/lib/hpc-vmm",
           &Config::state_dir),
      row("seeds", "array of tables", "[{id = 2, address = \"10.0.0.2:7200\"}]", kExample,
          "where multicast is blocked: some nodes that tell of the others; id only if it is known",
          [](Reader& r, const Row&, Config& c) { read_seeds(r, c); }),
  };
}

const std::vector<Row>& rows() {
  static const std::vector<Row> all = make_rows();
  return all;
}

}  // namespace

std::vector<ConfigKey> config_keys() { return {rows().begin(), rows().end()}; }

std::string config_listing() {
  constexpr std::size_t kTextColumn = 34;
  std::string out;
  for (const ConfigKey& key : config_keys()) {
    std::string line = key.name + " = " + key.value;
    // Before a long value its text has a line of its own.
    if (line.size() + 1 >= kTextColumn) {
      out += "# " + key.text + ":\n" + line + "\n";
      continue;
    }
    line.resize(kTextColumn, ' ');
    std::string choices;
    for (const std::string& c : key.choices) choices += (choices.empty() ? ": " : ", ") + c;
    out += line + "# " + key.text + choices + "\n";
  }
  return out;
}

std::uint64_t parse_size(std::string_view text) {
  std::uint64_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc{} || n == 0) return 0;
  const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  unsigned shift = 0;
  if (unit == "K" || unit == "k")
    shift = 10;
  else if (unit == "M" || unit == "m")
    shift = 20;
  else if (unit == "G" || unit == "g")
    shift = 30;
  else if (unit == "T" || unit == "t")
    shift = 40;
  else if (!unit.empty())
    return 0;
  if (n > (~std::uint64_t{0} >> shift)) return 0;
  return n << shift;
}

std::variant<Config, Refusal> parse_config(std::string_view text, const std::string& name) {
  const toml::parse_result parsed = toml::parse(text, name);
  if (!parsed) {
    const toml::parse_error& e = parsed.error();
    return Refusal{name + ":" + std::to_string(e.source().begin.line) + ": " + std::string(e.description())};
  }
  Config c;
  Reader r(parsed.table(), name);
  for (const Row& row : rows()) row.read(r, row, c);
  r.refuse_unknown();
  const toml::source_region top = parsed.table().source();
  if (r.complaint.empty() && c.node == 0 && !c.discover && c.map.empty())
    r.complain(top, "`node`, this node's number, is missing, and neither `discover` nor `map` finds one");
  if (r.complaint.empty() && c.address.empty())
    r.complain(top, "`address`, such as \"10.0.0.1:7200\", is missing");
  if (r.complaint.empty() && c.key_file.empty())
    r.complain(top,
               "`key`, the file with the cluster key, is missing; make one with: "
               "(umask 077; head -c 32 /dev/urandom > /etc/hpc-vmm.key)");
  if (!r.complaint.empty()) return Refusal{r.complaint};
  if (c.state_dir.empty()) c.state_dir = c.run_dir.empty() ? "/var/lib/hpc-vmm" : c.run_dir;
  if (c.run_dir.empty() && c.node != 0) c.run_dir = "/run/hpc-vmm/" + std::to_string(c.node);
  return c;
}

std::variant<Config, Refusal> read_config(const std::string& path) {
  std::string problem;
  const std::string text = read_all(path, problem);
  if (!problem.empty())
    return Refusal{path + ": " + problem +
                   "; give another file with --config FILE (daemon/README.md has an example)"};
  return parse_config(text, path);
}

std::variant<ClusterKey, Refusal> read_key(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY));
  if (!fd) return Refusal{"cluster key " + path + ": " + std::strerror(errno)};
  struct stat s {};
  if (::fstat(fd.get(), &s) != 0) return Refusal{"cluster key " + path + ": " + std::strerror(errno)};
  if (!S_ISREG(s.st_mode)) return Refusal{"cluster key " + path + ": not a regular file"};
  if ((s.st_mode & 0077) != 0)
    return Refusal{"cluster key " + path + ": others may read it; remedy: chmod 600 " + path};
  if (s.st_uid != 0 && s.st_uid != ::geteuid())
    return Refusal{"cluster key " + path + ": belongs to user " + std::to_string(s.st_uid) +
                   "; remedy: chown root " + path};
  ClusterKey key{};
  std::array<std::uint8_t, 33> buffer{};
  const ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
  if (n < 0) return Refusal{"cluster key " + path + ": " + std::strerror(errno)};
  if (n != static_cast<ssize_t>(key.size()))
    return Refusal{"cluster key " + path + ": must be exactly 32 bytes, has " + std::to_string(s.st_size) +
                   "; make one with: (umask 077; head -c 32 /dev/urandom > " + path + ")"};
  std::memcpy(key.data(), buffer.data(), key.size());
  ::explicit_bzero(buffer.data(), buffer.size());
  return key;
}

}  // namespace hpcvmm::daemon
