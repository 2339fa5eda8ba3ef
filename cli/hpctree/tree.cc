// Where a path leads, and the texts of files.
#include "cli/hpctree/tree.hh"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <set>
#include <sstream>

#include "cli/hpctree/names.hh"
#include "cli/hpctree/place.hh"

namespace hpcvmm::hpctree {

using nlohmann::json;
using Kind = Entry::Kind;
using Area = Tree::Place::Area;

namespace {

constexpr double kOldSpeed = 10000;  // openMosix's number of the reference CPU
// openMosix's bits of a node's status.
constexpr unsigned kDefined = 1, kUp = 2, kStay = 4, kLstay = 8, kBlock = 16, kQuiet = 32;
constexpr int kAbsentCpus = -101;

template <std::size_t N> const File* find(const std::array<File, N>& list, const std::string& name) {
  for (const File& f : list)
    if (f.name == name) return &f;
  return nullptr;
}

template <std::size_t N> void add_names(const std::array<File, N>& list, std::vector<std::string>& names) {
  for (const File& f : list) names.emplace_back(f.name);
}

/// 0: not a number from 1 to `most`.
unsigned long number(const std::string& text, unsigned long most) {
  if (text.empty() || text.size() > 10 || text.find_first_not_of("0123456789") != std::string::npos ||
      text[0] == '0')
    return 0;
  const unsigned long n = std::stoul(text);
  return n <= most ? n : 0;
}

std::string line(const std::string& text) { return text + "\n"; }
std::string line(long n) { return std::to_string(n) + "\n"; }

std::string plain(const json& value) {
  if (value.is_boolean()) return value.get<bool>() ? "1" : "0";
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_float()) {
    std::ostringstream out;
    out << value.get<double>();
    return out.str();
  }
  return value.dump();
}

bool is_up(const json& node) {
  const std::string state = node.value("state", "");
  return state == "up" || state == "draining";
}

unsigned status_bits(const json& node) {
  unsigned bits = kDefined | (is_up(node) ? kUp : 0);
  for (const json& order : node.value("orders", json::array())) {
    if (order == "stay") bits |= kStay;
    if (order == "lstay") bits |= kLstay;
    if (order == "block" || order == "expel") bits |= kBlock;
    if (order == "quiet") bits |= kQuiet;
  }
  return bits;
}

std::string guest_name(const json& p) {
  return std::to_string(p.value("home", 0U)) + ":" + std::to_string(p.value("pid", 0));
}

}  // namespace

Tree::Place Tree::parse(const std::string& path) {
  std::vector<std::string> parts;
  std::istringstream in(path);
  for (std::string part; std::getline(in, part, '/');)
    if (!part.empty()) parts.push_back(part);
  const std::size_t n = parts.size();
  const auto folder = [](Area area) { return Place{area, Kind::Folder, {}, 0, 0}; };
  const auto file = [](Area area, const File* f, unsigned long id = 0) {
    return f == nullptr ? Place{} : Place{area, Kind::File, std::string(f->name), id, f->mode};
  };
  if (n == 0) return folder(Area::Root);
  if (parts[0] == "pid") {
    if (n == 1) return folder(Area::Processes);
    const unsigned long pid = number(parts[1], 0x7fff'ffff);
    if (pid == 0 || n > 3) return {};
    if (n == 2) return {Area::Process, Kind::Folder, {}, pid, 0};
    return file(Area::Process, find(kProcess, parts[2]), pid);
  }
  if (parts[0] != "hpc") return {};
  if (n == 1) return folder(Area::Hpc);
  if (parts[1] == "info" && n == 2) return {Area::Hpc, Kind::File, "info", 0, 0444};
  if (parts[1] == "nodes") {
    if (n == 2) return folder(Area::Nodes);
    const unsigned long id = number(parts[2], 65535);
    if (id == 0 || n > 4) return {};
    if (n == 3) return {Area::Node, Kind::Folder, {}, id, 0};
    return file(Area::Node, find(kNode, parts[3]), id);
  }
  if (n > 3) return {};
  const std::string name = n == 3 ? parts[2] : "";
  if (parts[1] == "admin") return n == 2 ? folder(Area::Admin) : file(Area::Admin, find(kAdmin, name));
  if (parts[1] == "decay") return n == 2 ? folder(Area::Decay) : file(Area::Decay, find(kDecay, name));
  if (parts[1] == "remote") return n == 2 ? folder(Area::Remote) : file(Area::Remote, find(kRemote, name));
  return {};
}

bool Tree::find_process(int pid, json& out) {
  const json answer = ask_({{"op", "ps"}}, true);
  const json nodes = ask_({{"op", "nodes"}}, true);
  const unsigned self = nodes.value("self", 0U);
  bool found = false;
  for (const json& p : answer.value("processes", json::array())) {
    if (p.value("pid", 0) != pid) continue;
    // This node's own goes before another's of the same number.
    if (!found || p.value("home", 0U) == self) out = p;
    found = true;
  }
  return found;
}

bool Tree::find_node(unsigned id, json& out, unsigned& self) {
  const json answer = ask_({{"op", "nodes"}}, true);
  self = answer.value("self", 0U);
  for (const json& n : answer.value("nodes", json::array()))
    if (n.value("id", 0U) == id) {
      out = n;
      return true;
    }
  return false;
}

Entry Tree::look(const std::string& path) {
  const Place place = parse(path);
  Entry e{place.kind, place.kind == Kind::Folder ? 0555 : place.mode, 0};
  json found;
  unsigned self = 0;
  if (place.area == Area::Process) {
    if (!find_process(static_cast<int>(place.id), found)) return {};
    e.owner = found.value("uid", 0U);
  }
  if (place.area == Area::Node && !find_node(static_cast<unsigned>(place.id), found, self)) return {};
  return e;
}

int Tree::list(const std::string& path, std::vector<std::string>& names) {
  const Place place = parse(path);
  if (place.kind == Kind::File) return ENOTDIR;
  switch (place.area) {
    case Area::None: return ENOENT;
    case Area::Root: names = {"hpc", "pid"}; return 0;
    case Area::Hpc: names = {"admin", "decay", "info", "nodes", "remote"}; return 0;
    case Area::Admin: add_names(kAdmin, names); return 0;
    case Area::Decay: add_names(kDecay, names); return 0;
    case Area::Remote: add_names(kRemote, names); return 0;
    case Area::Node: add_names(kNode, names); return look(path).kind == Kind::None ? ENOENT : 0;
    case Area::Process: add_names(kProcess, names); return look(path).kind == Kind::None ? ENOENT : 0;
    case Area::Nodes:
    case Area::Processes: break;
  }
  const bool nodes = place.area == Area::Nodes;
  const json answer = ask_({{"op", nodes ? "nodes" : "ps"}}, true);
  if (!answer.value("ok", false)) return errno_of(answer.value("code", "EIO"));
  std::set<int> numbers;
  for (const json& item : answer.value(nodes ? "nodes" : "processes", json::array()))
    numbers.insert(item.value(nodes ? "id" : "pid", 0));
  for (const int n : numbers) names.push_back(std::to_string(n));
  return 0;
}

int Tree::read(const std::string& path, const Caller& caller, std::string& text) {
  const Place place = parse(path);
  if (place.kind == Kind::None) return ENOENT;
  if (place.kind == Kind::Folder) return EISDIR;
  int error = 0;
  json found;
  unsigned self = 0;
  switch (place.area) {
    case Area::Hpc: text = info_text(error); return error;
    case Area::Admin: text = admin_text(place.name, error); return error;
    case Area::Decay: text = decay_text(place.name, caller, error); return error;
    case Area::Remote: text = remote_text(place.name, error); return error;
    case Area::Node:
      if (!find_node(static_cast<unsigned>(place.id), found, self)) return ENOENT;
      text = node_text(place.name, found);
      return 0;
    case Area::Process:
      if (!find_process(static_cast<int>(place.id), found)) return ENOENT;
      text = process_text(place.name, found);
      return 0;
    default: return EIO;
  }
}

std::string Tree::admin_text(const std::string& name, int& error) {
  if (name == "version")
    return "hpc-vmm " + setting_.version +
           "\nDFSA: not needed; files are those of a process's home everywhere\n";
  if (name == "nomfs") return "1\n";
  if (name == "gateways") return "0\n";
  if (name == "dfsalinks") return {};
  const json nodes = ask_({{"op", "nodes"}}, true);
  const unsigned self = nodes.value("self", 0U);
  if (name == "mospe") return line(static_cast<long>(self));
  const json answer = ask_({{"op", "ctl"}}, true);
  if (!answer.value("ok", false)) {
    error = errno_of(answer.value("code", "EIO"));
    return {};
  }
  const json settings = answer.value("settings", json::object());
  if (name == "overheads") {
    std::string out;
    for (const auto& [key, value] : settings.items())
      if (value.is_number()) out += key + " " + plain(value) + "\n";
    return out;
  }
  if (name == "speed") {
    double speed = settings.value("speed", 0.0);
    for (const json& n : nodes.value("nodes", json::array()))
      if (speed <= 0 && n.value("id", 0U) == self) speed = n.value("speed", 1.0);
    return line(std::lround(kOldSpeed * speed));
  }
  std::string key = name == "decay-interval" || name == "decayinterval" ? "decay_interval" : name;
  std::replace(key.begin(), key.end(), '-', '_');
  if (settings.contains(key)) return line(plain(settings[key]));
  error = EIO;
  return {};
}

std::string Tree::node_text(const std::string& name, const json& node) {
  const bool up = is_up(node);
  const double cpus = node.value("cpus", 0.0);
  const double speed = node.value("speed", 1.0);
  if (name == "status") return line(static_cast<long>(status_bits(node)));
  if (name == "state") return line(node.value("state", "?"));
  if (name == "address") return line(node.value("address", ""));
  if (name == "orders") {
    std::string out;
    for (const json& o : node.value("orders", json::array())) out += (out.empty() ? "" : " ") + plain(o);
    return line(out);
  }
  if (name == "CPUs" || name == "cpus") return line(up ? std::max(1L, std::lround(cpus)) : kAbsentCpus);
  if (!up) return "0\n";
  if (name == "speed") return line(std::lround(kOldSpeed * speed));
  if (name == "util") return line(std::lround(100 * (1 - std::clamp(node.value("paging", 0.0), 0.0, 1.0))));
  if (name == "mem" || name == "rmem") return line(plain(node.value("memory_free", json(0))));
  if (name == "tmem") return line(plain(node.value("memory_total", json(0))));
  if (name == "guests") return line(plain(node.value("guests", json(0))));
  if (name == "rtt") return line(plain(node.value("rtt_us", json(0))));
  const double load = node.contains("run_queue") ? node.value("run_queue", 0.0) : node.value("load", 0.0);
  const double yard = setting_.yardstick ? setting_.yardstick() : 1.0;
  return line(std::lround(cpus * speed > 0 ? 100 * load * yard / (cpus * speed) : 100 * load));
}

std::string Tree::process_text(const std::string& name, const json& p) {
  if (name == "where" || name == "home") return line(static_cast<long>(p.value(name, 0U)));
  if (name == "goto" || name == "migrate" || name == "runon")
    return line(static_cast<long>(p.value("run_on", 0U)));
  if (name == "cantmove") return p.value("cantmove", "").empty() ? "" : line(p.value("cantmove", ""));
  if (name == "lock") return line(p.value("locked", false) ? 1 : 0);
  if (name == "homeonly") return line(p.value("home_only", false) ? 1 : 0);
  if (name == "nmigs") return line(static_cast<long>(p.value("migrations", 0U)));
  if (name == "migfilter") return line(mask_of(p).filter ? 1 : 0);
  if (name == "mignodes") return line(node_bits(mask_of(p).nodes));
  if (name == "migpolicy") return line(mask_of(p).allow ? 1 : 0);
  if (name == "kind") return line(p.value("kind", "measured"));
  if (name == "decay") return line(p.value("decay", "default"));
  const json answer = ask_({{"op", "why"}, {"pid", p.value("pid", 0)}, {"home", p.value("home", 0U)}}, true);
  const json why = answer.value("why", json::object());
  return line(why.contains("text") ? plain(why["text"]) : p.value("why", ""));
}

std::string Tree::remote_text(const std::string& name, int& error) {
  const json nodes = ask_({{"op", "nodes"}}, true);
  const json answer = ask_({{"op", "ps"}}, true);
  if (!answer.value("ok", false)) {
    error = errno_of(answer.value("code", "EIO"));
    return {};
  }
  const unsigned self = nodes.value("self", 0U);
  std::string out;
  for (const json& p : answer.value("processes", json::array())) {
    if (p.value("where", 0U) != self || p.value("home", 0U) == self) continue;
    out += guest_name(p);
    if (name == "from") out += " " + std::to_string(p.value("home", 0U));
    if (name == "identity") out += " " + std::to_string(p.value("uid", 0U)) + " " + p.value("comm", "");
    if (name == "statm") out += " " + std::to_string(p.value("memory", std::uint64_t{0}) / 4096);
    if (name == "stats") out += " " + std::to_string(p.value("cpu_ms", std::uint64_t{0}));
    out += "\n";
  }
  return out;
}

std::string Tree::decay_text(const std::string& name, const Caller& caller, int& error) {
  json p;
  if (!find_process(caller.pid, p)) {
    error = ESRCH;
    return {};
  }
  const std::string kind = p.value("kind", "measured");
  const std::string decay = p.value("decay", "default");
  const bool is = (name == "cpujob" && kind == "cpu") || (name == "iojob" && kind == "io") || name == decay;
  return line(is ? 1 : 0);
}

std::string Tree::info_text(int& error) {
  const json answer = ask_({{"op", "nodes"}}, true);
  if (!answer.value("ok", false)) {
    error = errno_of(answer.value("code", "EIO"));
    return {};
  }
  unsigned up = 0;
  double cpus = 0;
  for (const json& n : answer.value("nodes", json::array())) {
    up += is_up(n) ? 1 : 0;
    cpus += is_up(n) ? n.value("cpus", 0.0) : 0;
  }
  return "version " + setting_.version + "\nnode " + std::to_string(answer.value("self", 0U)) + "\nnodes " +
         std::to_string(answer.value("nodes", json::array()).size()) + "\nup " + std::to_string(up) +
         "\ncpus " + plain(json(cpus)) + "\nepoch " + plain(answer.value("epoch", json(0))) + "\ndriver " +
         answer.value("driver", "?") + "\n";
}

}  // namespace hpcvmm::hpctree
