#include "daemon/balance/attributes.hh"

#include <algorithm>
#include <array>
#include <utility>

#include "daemon/config.hh"

namespace hpcvmm::daemon {

using balancer::Kind;
using balancer::MaskMode;
using nlohmann::json;

namespace {

constexpr std::array<std::pair<const char*, Kind>, 3> kKinds{
    {{"measured", Kind::Measured}, {"cpu", Kind::CpuJob}, {"io", Kind::IoJob}}};
constexpr std::array<std::pair<const char*, DecayChoice>, 4> kDecays{{{"default", DecayChoice::Default},
                                                                      {"slow", DecayChoice::Slow},
                                                                      {"fast", DecayChoice::Fast},
                                                                      {"none", DecayChoice::None}}};
constexpr std::array<std::pair<const char*, MaskMode>, 3> kModes{
    {{"none", MaskMode::None}, {"allow", MaskMode::Allow}, {"deny", MaskMode::Deny}}};

template <class List, class T> const char* name_in(const List& list, T value) {
  for (const auto& [name, v] : list)
    if (v == value) return name;
  return "";
}

/// Empty: found; else what is wrong with `key`.
template <class List, class T>
std::string take_name(const List& list, const char* key, const json& value, T& to) {
  std::string all;
  for (const auto& [name, v] : list) {
    if (value.is_string() && value.get_ref<const std::string&>() == name) {
      to = v;
      return {};
    }
    all += (all.empty() ? "" : ", ") + std::string(name);
  }
  return std::string("`") + key + "` must be one of " + all;
}

bool is_node(const json& value, balancer::NodeId least) {
  return value.is_number_integer() && value >= least && value <= kMaxNode;
}

std::string take_mask(const json& value, Attributes& a) {
  if (!value.is_object()) return "`mask` must be like {\"mode\": \"allow\", \"nodes\": [1, 2]}";
  MaskMode mode = MaskMode::None;
  std::vector<balancer::NodeId> nodes;
  for (const auto& [key, v] : value.items()) {
    if (key == "mode") {
      if (std::string wrong = take_name(kModes, "mode", v, mode); !wrong.empty()) return wrong;
    } else if (key == "nodes") {
      if (!v.is_array()) return "`nodes` of `mask` must be a list of node numbers";
      for (const json& n : v) {
        if (!is_node(n, 1)) return "`nodes` of `mask` must be a list of node numbers";
        nodes.push_back(n.get<balancer::NodeId>());
      }
    } else {
      return "unknown key `" + key.substr(0, 64) + "` in `mask`";
    }
  }
  std::sort(nodes.begin(), nodes.end());
  nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
  if (nodes.size() > peer::kMostMasked)
    return "`mask` may name " + std::to_string(peer::kMostMasked) + " nodes at most";
  a.mask_mode = mode;
  a.mask = mode == MaskMode::None ? std::vector<balancer::NodeId>() : std::move(nodes);
  return {};
}

std::string take_flag(const std::string& key, const json& value, bool& to) {
  if (!value.is_boolean()) return "`" + key + "` must be true or false";
  to = value.get<bool>();
  return {};
}

std::string take_one(const std::string& key, const json& value, Attributes& a) {
  if (key == "locked") return take_flag(key, value, a.locked);
  if (key == "home_only") return take_flag(key, value, a.home_only);
  if (key == "kind") return take_name(kKinds, "kind", value, a.kind);
  if (key == "decay") return take_name(kDecays, "decay", value, a.decay);
  if (key == "mask") return take_mask(value, a);
  if (key == "run_on") {
    if (!is_node(value, 0)) return "`run_on` must be a node's number, or 0 for none";
    a.run_on = value.get<balancer::NodeId>();
    return {};
  }
  return "unknown setting `" + key.substr(0, 64) +
         "` of a process; known: locked, home_only, run_on, kind, decay, mask";
}

}  // namespace

Attributes narrowed(const Attributes& a, const std::vector<balancer::NodeId>& bound, balancer::NodeId home) {
  Attributes out = a;
  if (bound.empty()) return out;
  const auto has = [](const std::vector<balancer::NodeId>& all, balancer::NodeId n) {
    return std::binary_search(all.begin(), all.end(), n);
  };
  out.mask.clear();
  for (const balancer::NodeId n : bound)
    if (a.mask_mode == MaskMode::None || has(a.mask, n) == (a.mask_mode == MaskMode::Allow))
      out.mask.push_back(n);
  // Between a mask of people and CPUs that do not meet, the CPUs count.
  if (out.mask.empty()) out.mask = bound;
  if (out.mask.size() > peer::kMostMasked) out.mask.resize(peer::kMostMasked);
  out.mask_mode = MaskMode::Allow;
  out.locked = a.locked || !has(bound, home);
  return out;
}

void put_attributes(const Attributes& a, balancer::Process& to) {
  to.kind = a.kind;
  to.locked = a.locked;
  to.home_only = a.home_only;
  to.run_on = a.run_on;
  to.mask_mode = a.mask_mode;
  to.mask = a.mask;
}

void put_attributes(const Attributes& a, json& to) {
  to["locked"] = a.locked;
  to["home_only"] = a.home_only;
  to["run_on"] = a.run_on;
  to["kind"] = name_in(kKinds, a.kind);
  to["decay"] = name_in(kDecays, a.decay);
  to["mask"] = {{"mode", name_in(kModes, a.mask_mode)}, {"nodes", a.mask}};
}

std::string take_attributes(const json& set, Attributes& a) {
  if (!set.is_object()) return "`set` must be an object";
  Attributes changed = a;
  for (const auto& [key, value] : set.items())
    if (std::string wrong = take_one(key, value, changed); !wrong.empty()) return wrong;
  a = std::move(changed);
  return {};
}

void put_attributes(const Attributes& a, peer::Guest& to) {
  to.locked = a.locked ? 1 : 0;
  to.home_only = a.home_only ? 1 : 0;
  to.run_on = a.run_on;
  to.kind = static_cast<std::uint8_t>(a.kind);
  to.decay = static_cast<std::uint8_t>(a.decay);
  to.mask_mode = static_cast<std::uint8_t>(a.mask_mode);
  to.mask_count = static_cast<std::uint16_t>(a.mask.size());
  for (std::size_t i = 0; i < a.mask.size(); ++i) to.mask[i] = static_cast<std::uint16_t>(a.mask[i]);
}

Attributes attributes_of(const wire::local::Settings& s) {
  namespace local = wire::local;
  Attributes a;
  a.locked = s.locked != 0;
  a.home_only = s.home_only != 0;
  a.run_on = s.run_on;
  a.kind = s.kind == local::Kind::Cpu  ? Kind::CpuJob
           : s.kind == local::Kind::Io ? Kind::IoJob
                                       : Kind::Measured;
  a.decay = s.decay == local::Decay::Slow   ? DecayChoice::Slow
            : s.decay == local::Decay::Fast ? DecayChoice::Fast
            : s.decay == local::Decay::None ? DecayChoice::None
                                            : DecayChoice::Default;
  a.mask_mode = s.mask_mode == local::MaskMode::Allow  ? MaskMode::Allow
                : s.mask_mode == local::MaskMode::Deny ? MaskMode::Deny
                                                       : MaskMode::None;
  a.mask.assign(s.mask_nodes, s.mask_nodes + s.mask_count);
  std::sort(a.mask.begin(), a.mask.end());
  return a;
}

Attributes attributes_of(const peer::Guest& g) {
  Attributes a;
  a.locked = g.locked != 0;
  a.home_only = g.home_only != 0;
  a.run_on = g.run_on;
  a.kind = static_cast<Kind>(g.kind);
  a.decay = static_cast<DecayChoice>(g.decay);
  a.mask_mode = static_cast<MaskMode>(g.mask_mode);
  a.mask.assign(std::begin(g.mask), std::begin(g.mask) + g.mask_count);
  return a;
}

balancer::Decay decay_of(DecayChoice choice) {
  switch (choice) {
    case DecayChoice::Slow: return balancer::Decay::Slow;
    case DecayChoice::None: return balancer::Decay::None;
    case DecayChoice::Default:
    case DecayChoice::Fast: return balancer::Decay::Fast;
  }
  return balancer::Decay::Fast;
}

}  // namespace hpcvmm::daemon
