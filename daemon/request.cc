#include "daemon/request.hh"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <utility>

namespace hpcvmm::daemon {

using nlohmann::json;

namespace {
constexpr std::array<std::pair<const char*, Request::Op>, 15> kOps{{{"nodes", Request::Op::Nodes},
                                                                    {"ps", Request::Op::Ps},
                                                                    {"find", Request::Op::Find},
                                                                    {"migrate", Request::Op::Migrate},
                                                                    {"evict", Request::Op::Evict},
                                                                    {"drain", Request::Op::Drain},
                                                                    {"resume", Request::Op::Resume},
                                                                    {"shutdown", Request::Op::Shutdown},
                                                                    {"faults", Request::Op::Faults},
                                                                    {"metrics", Request::Op::Metrics},
                                                                    {"ctl", Request::Op::Ctl},
                                                                    {"process", Request::Op::Process},
                                                                    {"why", Request::Op::Why},
                                                                    {"move", Request::Op::Move},
                                                                    {"affinity", Request::Op::Affinity}}};
constexpr std::array<std::pair<const char*, wire::local::Mode>, 3> kModes{
    {{"hybrid", wire::local::Mode::Hybrid},
     {"precopy", wire::local::Mode::Precopy},
     {"postcopy", wire::local::Mode::Postcopy}}};

template <class List, class T> bool look_up(const List& list, const json& name, T& to) {
  if (!name.is_string()) return false;
  for (const auto& [text, value] : list)
    if (name.get_ref<const std::string&>() == text) {
      to = value;
      return true;
    }
  return false;
}

template <class T> bool number(const json& value, std::int64_t least, std::int64_t most, T& to) {
  if (!value.is_number_integer()) return false;
  // An unsigned number beyond int64 would turn negative.
  if (value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(most))
    return false;
  const auto n = value.get<std::int64_t>();
  if (n < least || n > most) return false;
  to = static_cast<T>(n);
  return true;
}

/// At most objects in an object: what is deeper is nobody's setting.
bool is_shallow(const json& value, int levels = 3) {
  if (value.is_primitive()) return true;
  return levels > 0 && std::all_of(value.begin(), value.end(),
                                   [levels](const json& inner) { return is_shallow(inner, levels - 1); });
}

std::string take_flag(const std::string& key, const json& value, bool& to) {
  if (!value.is_boolean()) return "`" + key + "` must be true or false";
  to = value.get<bool>();
  return "";
}

/// Empty, or what is wrong.
std::string take(const std::string& key, const json& value, Request& r) {
  if (key == "op") return look_up(kOps, value, r.op) ? "" : "unknown `op`";
  if (key == "pid") return number(value, 1, 0x7fff'ffff, r.pid) ? "" : "`pid` must be a process number";
  if (key == "home") return number(value, 1, kMaxNode, r.home) ? "" : "`home` must be a node's number";
  if (key == "to") {
    if (value == "home") return "";
    r.balance = value == "balance";
    if (r.balance) return "";
    return number(value, 1, kMaxNode, r.to) ? "" : "`to` must be a node's number, \"home\" or \"balance\"";
  }
  if (key == "mode")
    return look_up(kModes, value, r.mode) ? "" : "`mode` must be hybrid, precopy or postcopy";
  if (key == "uid") return number(value, 0, 0xffff'fffe, r.uid) ? "" : "`uid` must be a user's number";
  if (key == "spec") {
    if (!value.is_string()) return "`spec` must be a string";
    r.spec = value.get<std::string>();
    return "";
  }
  if (key == "node") return number(value, 1, kMaxNode, r.node) ? "" : "`node` must be a node's number";
  if (key == "cpus") {
    if (!value.is_string()) return "`cpus` must be a list such as \"0-3,5\", or \"all\"";
    r.cpus = value.get<std::string>();
    return "";
  }
  if (key == "set") {
    if (!value.is_object() || !is_shallow(value)) return "`set` must be an object of settings";
    r.set = value.dump(-1, ' ', true, json::error_handler_t::replace);
    return "";
  }
  if (key == "own") return take_flag(key, value, r.own);
  if (key == "wait") return take_flag(key, value, r.wait);
  if (key == "mappings") return take_flag(key, value, r.mappings);
  if (key == "clear") return take_flag(key, value, r.clear);
  if (key == "local") return take_flag(key, value, r.local);
  return "unknown key `" + key.substr(0, 64) + "`";
}

}  // namespace

const char* op_name(Request::Op op) {
  for (const auto& [name, value] : kOps)
    if (value == op) return name;
  return "";
}

std::variant<Request, Refusal> parse_request(std::string_view text) {
  if (text.size() > kMaxRequest) return Refusal{"the request is too long"};
  const json j = json::parse(text, nullptr, false);
  if (!j.is_object()) return Refusal{"the request is not a JSON object"};
  if (!j.contains("op")) return Refusal{"`op` is missing"};
  Request r;
  for (const auto& [key, value] : j.items())
    if (const std::string wrong = take(key, value, r); !wrong.empty()) return Refusal{wrong};
  const bool of_process = r.op == Request::Op::Find || r.op == Request::Op::Migrate ||
                          r.op == Request::Op::Evict || r.op == Request::Op::Process ||
                          r.op == Request::Op::Why || r.op == Request::Op::Move ||
                          r.op == Request::Op::Affinity;
  if (of_process && r.pid == 0) return Refusal{"`pid` is missing"};
  if (r.op == Request::Op::Migrate && !j.contains("to")) return Refusal{"`to` is missing"};
  return r;
}

std::string request_text(const Request& r) {
  json j;
  j["op"] = op_name(r.op);
  if (r.pid != 0) j["pid"] = r.pid;
  if (r.home != 0) j["home"] = r.home;
  if (r.op == Request::Op::Migrate || r.op == Request::Op::Move) {
    if (r.balance)
      j["to"] = "balance";
    else if (r.to != 0)
      j["to"] = r.to;
    else
      j["to"] = "home";
  }
  for (const auto& [name, value] : kModes)
    if (value == r.mode) j["mode"] = name;
  if (!r.spec.empty()) j["spec"] = r.spec;
  if (r.node != 0) j["node"] = r.node;
  if (!r.set.empty()) j["set"] = json::parse(r.set, nullptr, false);
  if (!r.wait) j["wait"] = false;
  if (r.mappings) j["mappings"] = true;
  if (r.clear) j["clear"] = true;
  if (!r.cpus.empty()) j["cpus"] = r.cpus;
  if (r.own) j["own"] = true;
  if (r.local) j["local"] = true;
  if (r.uid != 0) j["uid"] = r.uid;
  return j.dump(-1, ' ', true, json::error_handler_t::replace);
}

}  // namespace hpcvmm::daemon
