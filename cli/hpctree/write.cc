// What writing to a file asks of hpcd.
#include <algorithm>
#include <cerrno>
#include <sstream>

#include "cli/hpctree/names.hh"
#include "cli/hpctree/place.hh"
#include "cli/hpctree/tree.hh"

namespace hpcvmm::hpctree {

using nlohmann::json;
using Area = Tree::Place::Area;

namespace {

constexpr double kOldSpeed = 10000;

std::string trimmed(const std::string& text) {
  const std::size_t first = text.find_first_not_of(" \t\n");
  if (first == std::string::npos) return {};
  return text.substr(first, text.find_last_not_of(std::string(" \t\n\0", 4)) - first + 1);
}

/// -1: not a number from 0 to `most`.
long number(const std::string& text, long most) {
  if (text.empty() || text.size() > 9 || text.find_first_not_of("0123456789") != std::string::npos) return -1;
  const long n = std::stol(text);
  return n <= most ? n : -1;
}

json set_of(const std::string& key, const json& value) { return {{key, value}}; }

json process_request(const json& p, const json& set) {
  return {{"op", "process"}, {"pid", p.value("pid", 0)}, {"home", p.value("home", 0U)}, {"set", set}};
}

}  // namespace

int errno_of(const std::string& name) {
  static const std::map<std::string, int> kNumbers{
      {"EPERM", EPERM},         {"EACCES", EACCES},       {"ESRCH", ESRCH},
      {"ENOENT", ENOENT},       {"EINVAL", EINVAL},       {"EBUSY", EBUSY},
      {"ENOTUNIQ", ENOTUNIQ},   {"EHOSTDOWN", EHOSTDOWN}, {"EHOSTUNREACH", EHOSTUNREACH},
      {"EAGAIN", EAGAIN},       {"ENOMEM", ENOMEM},       {"ENOTSUP", ENOTSUP},
      {"ETIMEDOUT", ETIMEDOUT}, {"EEXIST", EEXIST},       {"ENOSPC", ENOSPC}};
  const auto found = kNumbers.find(name);
  return found == kNumbers.end() ? EIO : found->second;
}

bool read_node_bits(const std::string& value, std::vector<unsigned>& nodes) {
  nodes.clear();
  if (value.empty()) return false;
  if (value.find_first_not_of("0123456789") == std::string::npos) {
    if (value.size() > 20) return false;
    errno = 0;
    const unsigned long long bits = std::strtoull(value.c_str(), nullptr, 10);
    if (errno != 0) return false;
    for (unsigned n = 0; n < 64; ++n)
      if ((bits >> n & 1) != 0) nodes.push_back(n + 1);
    return true;
  }
  std::istringstream items(value);
  for (std::string item; std::getline(items, item, ',');) {
    const std::size_t dash = item.find('-');
    const long first = number(item.substr(0, dash), 65535);
    const long last = dash == std::string::npos ? first : number(item.substr(dash + 1), 65535);
    if (first <= 0 || last < first || last - first > 255) return false;
    for (long n = first; n <= last; ++n) nodes.push_back(static_cast<unsigned>(n));
  }
  return !nodes.empty();
}

std::string node_bits(const json& nodes) {
  unsigned long long bits = 0;
  std::string list;
  bool beyond = false;
  for (const json& n : nodes) {
    const unsigned id = n.is_number_unsigned() ? n.get<unsigned>() : 0;
    if (id >= 1 && id <= 64) bits |= 1ULL << (id - 1);
    beyond |= id > 64;
    list += (list.empty() ? "" : ",") + std::to_string(id);
  }
  // What has no bit is told as a list, which can be written back.
  return beyond ? list + (nodes.size() == 1 ? "-" + list : "") : std::to_string(bits);
}

int Tree::request(json r, const Caller& caller, bool wait) {
  if (caller.uid != 0) r["uid"] = caller.uid;
  const json answer = ask_(r, wait);
  if (!wait || answer.value("ok", false)) return 0;
  return errno_of(answer.value("code", "EIO"));
}

int Tree::write(const std::string& path, const std::string& text, const Caller& caller) {
  const Place place = parse(path);
  if (place.kind == Entry::Kind::None) return ENOENT;
  if (place.kind == Entry::Kind::Folder) return EISDIR;
  if ((place.mode & 0222) == 0) return EACCES;
  const std::string value = trimmed(text);
  if (place.area == Area::Admin) return caller.uid == 0 ? write_admin(place.name, value, caller) : EPERM;
  if (place.area == Area::Decay) return write_decay(place.name, value, caller);
  json process;
  if (!find_process(static_cast<int>(place.id), process)) return ENOENT;
  if (caller.uid != 0 && process.value("uid", 0U) != caller.uid) return EPERM;
  return write_process(place.name, value, process, caller);
}

int Tree::write_admin(const std::string& name, const std::string& value, const Caller& caller) {
  const auto ctl = [&](const json& set) {
    // openMosix's mosctl waits until a node is empty, not the file.
    return request({{"op", "ctl"}, {"set", set}, {"wait", false}}, caller);
  };
  const long n = number(value, 100'000'000);
  if (std::find(kOrders.begin(), kOrders.end(), name) != kOrders.end())
    return n == 0 || n == 1 ? ctl(set_of(name, n == 1)) : EINVAL;
  if (name == "nomfs") return n == 1 ? 0 : n == 0 ? ENOTSUP : EINVAL;
  if (name == "policy") return value.empty() ? EINVAL : ctl(set_of("policy", value));
  if (name == "owner-active") {
    if (value == "auto") return ctl(set_of("owner_active", "auto"));
    return n == 0 || n == 1 ? ctl(set_of("owner_active", n == 1)) : EINVAL;
  }
  if (name == "overheads") {
    std::istringstream words(value);
    std::string key;
    double number_value = 0;
    if (!(words >> key >> number_value)) return EINVAL;
    return ctl(set_of(key, number_value));
  }
  if (n < 0) return EINVAL;
  if (name == "speed") return ctl(set_of("speed", static_cast<double>(n) / kOldSpeed));
  if (name == "mospe") {
    const json nodes = ask_({{"op", "nodes"}}, true);
    if (n == 0) return request({{"op", "drain"}, {"wait", false}}, caller);
    // Another number is a matter of the configuration.
    return n == nodes.value("self", 0) ? request({{"op", "resume"}}, caller) : EINVAL;
  }
  if (name == "slow-decay" || name == "fast-decay")
    return n <= 1000 ? ctl(set_of(name == "slow-decay" ? "slow_decay" : "fast_decay", n)) : EINVAL;
  return n > 0 ? ctl(set_of("decay_interval", n)) : EINVAL;
}

int Tree::write_decay(const std::string& name, const std::string& value, const Caller& caller) {
  const long n = number(value, 1);
  if (n < 0) return EINVAL;
  json process;
  if (!find_process(caller.pid, process)) return ESRCH;
  if (caller.uid != 0 && process.value("uid", 0U) != caller.uid) return EPERM;
  if (name == "clear") {
    if (n == 0) return 0;
    json r = process_request(process, json::object());
    r.erase("set");
    r["clear"] = true;
    return request(r, caller);
  }
  if (name == "cpujob" || name == "iojob") {
    const std::string kind = name == "cpujob" ? "cpu" : "io";
    if (n == 0 && process.value("kind", "measured") != kind) return 0;
    return request(process_request(process, set_of("kind", n == 1 ? kind : "measured")), caller);
  }
  if (n == 0 && process.value("decay", "default") != name) return 0;
  return request(process_request(process, set_of("decay", n == 1 ? name : "default")), caller);
}

int Tree::write_process(const std::string& name, const std::string& value, const json& p,
                        const Caller& caller) {
  const long n = number(value, 100'000'000);
  const auto set = [&](const std::string& key, const json& to) {
    return request(process_request(p, set_of(key, to)), caller);
  };
  if (name.starts_with("mig") && name != "migrate") return write_mask(name, value, p, caller);
  if (name == "lock") return n == 0 || n == 1 ? set("locked", n == 1) : EINVAL;
  if (name == "homeonly") return n == 0 || n == 1 ? set("home_only", n == 1) : EINVAL;
  if (name == "runon") return n >= 0 && n <= 65535 ? set("run_on", n) : EINVAL;
  if (name == "kind")
    return value == "measured" || value == "cpu" || value == "io" ? set("kind", value) : EINVAL;
  if (name == "decay")
    return value == "default" || value == "slow" || value == "fast" || value == "none" ? set("decay", value)
                                                                                       : EINVAL;
  // goto, migrate
  json r = {{"op", "migrate"}, {"pid", p.value("pid", 0)}, {"home", p.value("home", 0U)}};
  if (n == 0 || value == "home")
    r["to"] = "home";
  else if (value == "balance" || value == "-1")
    r["to"] = "balance";
  else if (n > 0 && n <= 65535)
    r["to"] = n;
  else
    return EINVAL;
  // Who moves himself waits in this very write, which must end before he can move.
  return request(r, caller, p.value("pid", 0) != caller.pid);
}

Tree::Mask Tree::mask_of(const json& process) {
  const json given = process.value("mask", json::object());
  const std::string mode = given.value("mode", "none");
  if (mode != "none")
    return {true, mode == "allow", given.value("nodes", json::array()).get<std::vector<unsigned>>()};
  const std::scoped_lock hold(lock_);
  const auto found = masks_.find({process.value("home", 0U), process.value("pid", 0)});
  return found == masks_.end() ? Mask{} : found->second;
}

int Tree::write_mask(const std::string& name, const std::string& value, const json& p, const Caller& caller) {
  Mask mask = mask_of(p);
  const bool was_on = mask.filter;
  const long n = number(value, 1);
  if (name == "mignodes") {
    if (!read_node_bits(value, mask.nodes)) return EINVAL;
  } else if (n < 0) {
    return EINVAL;
  } else if (name == "migpolicy") {
    mask.allow = n == 1;
  } else {
    mask.filter = n == 1;
  }
  if (!mask.filter) {
    const std::scoped_lock hold(lock_);
    if (masks_.size() > 4096) masks_.clear();  // of processes long gone
    masks_[{p.value("home", 0U), p.value("pid", 0)}] = mask;
    if (!was_on) return 0;
  }
  const char* const mode = !mask.filter ? "none" : mask.allow ? "allow" : "deny";
  const json nodes = mask.filter ? json(mask.nodes) : json::array();
  return request(process_request(p, set_of("mask", {{"mode", mode}, {"nodes", nodes}})), caller);
}

}  // namespace hpcvmm::hpctree
