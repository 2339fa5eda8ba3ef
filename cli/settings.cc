#include "cli/settings.hh"

#include <algorithm>
#include <cstdlib>
#include <sstream>

namespace hpcvmm::cli {

namespace local = wire::local;

namespace {

/// 0: not a node's number.
unsigned node_number(const std::string& text) {
  if (text.empty() || text.size() > 5 || text.find_first_not_of("0123456789") != std::string::npos) return 0;
  const unsigned long n = std::strtoul(text.c_str(), nullptr, 10);
  return n <= 65535 ? static_cast<unsigned>(n) : 0;
}

}  // namespace

std::string read_node_list(const std::string& list, std::vector<std::uint16_t>& nodes) {
  std::istringstream items(list);
  nodes.clear();
  for (std::string item; std::getline(items, item, ',');) {
    const std::size_t dash = item.find('-');
    const unsigned first = node_number(item.substr(0, dash));
    const unsigned last = dash == std::string::npos ? first : node_number(item.substr(dash + 1));
    if (first == 0 || last < first)
      return list + ": \"" + item + "\" is neither a node's number nor a range like 3-5";
    for (unsigned n = first; n <= last; ++n) nodes.push_back(static_cast<std::uint16_t>(n));
  }
  if (nodes.empty()) return "\"" + list + "\" names no node; give a list like 1,3-5";
  std::sort(nodes.begin(), nodes.end());
  nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
  return {};
}

std::string read_settings(const SettingsWords& words, local::Settings& settings) {
  settings = {};
  if (!words.any()) return {};
  if (words.lock && words.unlock) return "--lock and --unlock contradict each other";
  if (!words.nodes.empty() && !words.except_nodes.empty())
    return "--nodes and --except-nodes contradict each other";
  settings.given = 1;
  settings.locked = words.lock ? 1 : 0;
  settings.home_only = words.home_only ? 1 : 0;
  settings.run_on = words.run_on;
  settings.kind = words.kind == "cpu"  ? local::Kind::Cpu
                  : words.kind == "io" ? local::Kind::Io
                                       : local::Kind::Measured;
  settings.decay = words.decay == "slow"   ? local::Decay::Slow
                   : words.decay == "fast" ? local::Decay::Fast
                   : words.decay == "none" ? local::Decay::None
                                           : local::Decay::Default;
  const std::string& list = words.nodes.empty() ? words.except_nodes : words.nodes;
  if (list.empty()) return {};
  std::vector<std::uint16_t> nodes;
  const char* const option = words.nodes.empty() ? "--except-nodes " : "--nodes ";
  if (std::string why = read_node_list(list, nodes); !why.empty()) return option + why;
  if (nodes.size() > local::kMostMaskNodes)
    return option + list + ": a process can name " + std::to_string(local::kMostMaskNodes) + " nodes at most";
  settings.mask_mode = words.nodes.empty() ? local::MaskMode::Deny : local::MaskMode::Allow;
  settings.mask_count = static_cast<std::uint16_t>(nodes.size());
  std::copy(nodes.begin(), nodes.end(), std::begin(settings.mask_nodes));
  return {};
}

}  // namespace hpcvmm::cli
