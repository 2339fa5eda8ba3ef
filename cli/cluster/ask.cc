#include "cli/cluster/ask.hh"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>

namespace hpcvmm::cli {

using nlohmann::json;

int fail(const std::string& what) {
  std::fprintf(stderr, "hpc-vmm: %s\n", what.c_str());
  return 1;
}

bool ask(const AskRequest& r, const json& request, json& answer, int timeout_ms,
         const std::function<void(const json&)>& progress) {
  const std::vector<unsigned> nodes = r.names.nodes();
  if (nodes.empty()) {
    fail("no cluster is up on this machine; remedy: hpc-vmm up" + r.names.option());
    return false;
  }
  if (std::find(nodes.begin(), nodes.end(), r.node) == nodes.end()) {
    fail("there is no node " + std::to_string(r.node) + " on this machine");
    return false;
  }
  ApiAnswer got = ask_api(r.names.node_dir(r.node) + "/api.sock", request, timeout_ms, progress);
  if (!got.answered) {
    fail("the hpcd of node " + std::to_string(r.node) + " does not answer: " + got.error +
         "; remedy: hpc-vmm down" + r.names.option() + ", then hpc-vmm up" + r.names.option());
    return false;
  }
  answer = std::move(got.json);
  if (answer.value("ok", false)) return true;
  fail(answer.value("error", "the request was refused"));
  return false;
}

void print_json(json answer) {
  answer.erase("ok");
  std::printf("%s\n", answer.dump(2, ' ', false, json::error_handler_t::replace).c_str());
}

std::string table(const std::vector<std::vector<std::string>>& rows, const std::vector<bool>& right) {
  std::vector<std::size_t> width(right.size());
  for (const auto& row : rows)
    for (std::size_t i = 0; i < row.size(); ++i) width[i] = std::max(width[i], row[i].size());
  std::string out;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string blanks(width[i] - row[i].size(), ' ');
      line += (i == 0 ? "" : "  ") + (right[i] ? blanks + row[i] : row[i] + blanks);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

std::string fixed(double value, int digits) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.*f", digits, value);
  return text.data();
}

unsigned long number_in(const std::string& text, unsigned long most) {
  char* end = nullptr;
  const unsigned long n = std::strtoul(text.c_str(), &end, 10);
  const bool good = !text.empty() && text[0] >= '0' && text[0] <= '9' && *end == 0 && n >= 1 && n <= most;
  return good ? n : 0;
}

json process_json(const char* op, const std::string& process) {
  json j = {{"op", op}};
  std::string pid = process;
  if (const std::size_t colon = pid.find(':'); colon != std::string::npos) {
    const unsigned long home = number_in(pid.substr(0, colon), 65535);
    if (home == 0) return {{"error", process + ": in HOME:PID, HOME is the number of a node"}};
    j["home"] = home;
    pid.erase(0, colon + 1);
  }
  const unsigned long n = number_in(pid, 0x7fff'ffff);
  if (n == 0) return {{"error", process + ": not a process number; hpc-vmm ps lists them"}};
  j["pid"] = n;
  return j;
}

}  // namespace hpcvmm::cli
