#include "cli/doctor/report.hh"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace hpcvmm::cli {
namespace {

using probe::HostFacts;
using probe::Item;
using probe::State;

constexpr std::pair<std::string_view, std::string_view> kSections[] = {
    {"kvm", "Engine kvm"}, {"direct", "Engine direct"}, {"memory", "Memory"},
    {"host", "Host"},      {"network", "Network"},
};

std::string_view mark(State state, bool colour) {
  switch (state) {
    case State::Ok: return colour ? "\033[32mok      \033[0m" : "ok      ";
    case State::Degraded: return colour ? "\033[33mdegraded\033[0m" : "degraded";
    case State::Missing: return colour ? "\033[31mmissing \033[0m" : "missing ";
  }
  return "";
}

std::string padded(std::string_view text, std::size_t width) {
  std::string result(text);
  if (result.size() < width) result.append(width - result.size(), ' ');
  return result;
}

/// Column width of the values; an error message longer than this pushes its explanation to the right.
std::size_t widest_value(const HostFacts& facts) {
  std::size_t width = 0;
  for (const Item& item : facts.items) width = std::max(width, item.value.size());
  return std::min<std::size_t>(width, 32);
}

void append_choice(std::string& out, Abi abi, const HostFacts& facts) {
  std::string reason;
  const auto chosen = probe::choose_engine(abi, facts.engines, reason);
  out.append("  ").append(padded(probe::to_string(abi), 8));
  out.append(chosen ? "--engine auto takes " : "").append(reason).append("\n");
}

}  // namespace

std::string report_text(const HostFacts& facts, bool colour) {
  std::string out = "Linux " + facts.kernel + " " + facts.machine;
  if (facts.looks_like_pvm) out += ", KVM without hardware virtualisation (PVM)";
  out += "\n\nPrograms\n";
  append_choice(out, Abi::X64, facts);
  append_choice(out, Abi::Ia32, facts);
  std::size_t key_width = 0;
  for (const Item& item : facts.items) key_width = std::max(key_width, std::string_view(item.key).size());
  const std::size_t value_width = widest_value(facts);
  for (const auto& [section, title] : kSections) {
    out.append("\n").append(title).append("\n");
    for (const Item& item : facts.items) {
      if (item.section != section) continue;
      out.append("  ").append(mark(item.state, colour)).append("  ");
      out.append(padded(item.key, key_width)).append("  ");
      out.append(padded(item.value, value_width)).append("  ").append(item.explanation).append("\n");
      if (!item.remedy.empty())
        out.append(2 + 8 + 2 + key_width + 2, ' ').append("remedy: ").append(item.remedy).append("\n");
    }
  }
  return out;
}

std::string report_json(const HostFacts& facts) {
  using nlohmann::json;
  json root;
  root["version"] = 1;
  root["kernel"] = facts.kernel;
  root["machine"] = facts.machine;
  root["pvm"] = facts.looks_like_pvm;
  root["elapsed_ms"] = facts.elapsed_ms;
  for (const Abi abi : {Abi::X64, Abi::Ia32}) {
    const std::string name(probe::to_string(abi));
    root["engines"]["kvm"][name] = probe::to_string(facts.engines.kvm_run(abi));
    root["engines"]["direct"][name] = facts.engines.direct_runs(abi) ? "native" : "absent";
    std::string reason;
    const auto chosen = probe::choose_engine(abi, facts.engines, reason);
    root["auto"][name] = {{"engine", chosen ? json(probe::to_string(*chosen)) : json(nullptr)},
                          {"reason", reason}};
  }
  root["items"] = json::array();
  for (const Item& item : facts.items) {
    json entry = {{"section", item.section},
                  {"key", item.key},
                  {"state", probe::to_string(item.state)},
                  {"value", item.value},
                  {"explanation", item.explanation},
                  {"remedy", item.remedy}};
    if (item.unit[0] != '\0') {
      entry["number"] = item.number;
      entry["unit"] = item.unit;
    }
    root["items"].push_back(std::move(entry));
  }
  // Text of the system (a kernel name, a driver) need not be UTF-8: replace rather than throw.
  return root.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace hpcvmm::cli
