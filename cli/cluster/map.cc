#include "cli/cluster/map.hh"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>

#include "cli/cluster/api_client.hh"
#include "cli/cluster/command.hh"
#include "cli/cluster/names.hh"
#include "net/discovery/map_file.hh"

namespace hpcvmm::cli {

namespace discovery = net::discovery;
using nlohmann::json;

namespace {

int fail(const std::string& what) {
  std::fprintf(stderr, "hpc-vmm: %s\n", what.c_str());
  return 1;
}

std::vector<discovery::MapEntry> entries_of(const json& answer) {
  std::vector<discovery::MapEntry> out;
  for (const json& n : answer.value("nodes", json::array())) {
    const auto address = net::Address::parse(n.value("address", ""));
    if (address) out.push_back({n.value("id", 0U), {*address}, {}});
  }
  return out;
}

std::optional<net::Address> host_of(const std::string& host) {
  return discovery::find_host(read_file("/etc/hosts"), host);
}

json ask_nodes(const AskRequest& r, std::string& why) {
  const ApiAnswer answer = ask_api(r.names.node_dir(r.node) + "/api.sock", {{"op", "nodes"}}, 5000);
  if (!answer.answered || !answer.json.value("ok", false)) {
    why = "node " + std::to_string(r.node) + " does not answer; remedy: hpc-vmm up" + r.names.option() +
          ", or start hpcd";
    return {};
  }
  return answer.json;
}

/// Reads and checks; prints the complaint.
bool read_map(const SetpeRequest& r, std::string& text, std::vector<discovery::MapEntry>& entries) {
  const bool standard_input = r.file == "-";
  std::ifstream file(r.file);
  if (!standard_input && !file) return fail(r.file + ": " + std::strerror(errno)) == 0;
  std::istream& in = standard_input ? std::cin : file;
  text.assign(std::istreambuf_iterator<char>(in), {});
  const auto parsed = discovery::parse_map(text, static_cast<std::uint16_t>(kPort), host_of);
  if (const auto* const e = std::get_if<discovery::MapError>(&parsed))
    return fail(r.file + ":" + std::to_string(e->line) + ": " + e->text) == 0;
  entries = std::get<0>(parsed);
  return true;
}

/// Which node of the map this machine is, 0: none; or a complaint.
discovery::NodeId own_node(const SetpeRequest& r, const std::vector<discovery::MapEntry>& entries,
                           std::string& why) {
  auto own = discovery::own_addresses();
  if (!r.inet.empty()) {
    const auto given = net::Address::parse(r.inet);
    if (!given) {
      why = "-n " + r.inet + ": not an address";
      return 0;
    }
    own = {*given};
  }
  const discovery::NodeId found = discovery::find_own(entries, own);
  if (r.own != 0 && found != 0 && found != r.own)
    why = "-p " + std::to_string(r.own) + ": by its address this machine is node " + std::to_string(found);
  if (r.own != 0 && found == 0)
    why = "-p " + std::to_string(r.own) + ": that node of the map is another machine";
  return found;
}

int install(const SetpeRequest& r) {
  std::string text, why;
  std::vector<discovery::MapEntry> entries;
  if (!read_map(r, text, entries)) return 1;
  const discovery::NodeId own = own_node(r, entries, why);
  if (!r.write_any && why.empty() && own == 0)
    why =
        "none of this machine's addresses is in the map; remedy: add it, give -n ADDRESS, or install it with "
        "-W";
  if (!r.write_any && !why.empty()) return fail(r.file + ": " + why);
  std::fprintf(stderr, "%s: %zu nodes; this machine is %s.\n", r.file.c_str(), entries.size(),
               own == 0 ? "not in it" : ("node " + std::to_string(own)).c_str());
  if (r.check || r.file == r.target) return 0;
  if (const std::string wrong = write_file(r.target, text); !wrong.empty()) return fail(wrong);
  std::fprintf(stderr, "Installed as %s; hpcd reads it when it starts (map = \"%s\").\n", r.target.c_str(),
               r.target.c_str());
  return 0;
}

int print_current(const SetpeRequest& r) {
  std::string why;
  if (const json answer = ask_nodes(r.ask, why); answer.is_object()) {
    std::fputs(map_of_nodes(answer).c_str(), stdout);
    return 0;
  }
  const std::string path = discovery::usual_map_path();
  if (path.empty()) return fail(why + "; and there is no map file");
  std::fputs(read_file(path).c_str(), stdout);
  return 0;
}

int leave(const SetpeRequest& r) {
  const ApiAnswer answer =
      ask_api(r.ask.names.node_dir(r.ask.node) + "/api.sock", {{"op", "shutdown"}}, 5000);
  if (!answer.answered) return fail("no hpcd of node " + std::to_string(r.ask.node) + " runs here");
  if (!answer.json.value("ok", false)) return fail(answer.json.value("error", "refused"));
  std::fprintf(stderr, "Node %u leaves the cluster.\n", r.ask.node);
  return 0;
}

}  // namespace

std::string map_of_nodes(const json& answer) { return discovery::map_text(entries_of(answer)); }

json map_json(const json& answer) {
  json out = json::array();
  for (const json& n : answer.value("nodes", json::array()))
    out.push_back({{"id", n.value("id", 0U)},
                   {"address", n.value("address", "")},
                   {"range", 1},
                   {"state", n.value("state", "")}});
  return out;
}

int show_map(const AskRequest& r) {
  std::string why;
  const json answer = ask_nodes(r, why);
  if (!answer.is_object()) return fail(why);
  if (r.json) {
    std::printf("%s\n", map_json(answer).dump(2).c_str());
    return 0;
  }
  std::printf("My node number: %u\n\nNode\tAddress\tCount\n", answer.value("self", 0U));
  std::fputs(map_of_nodes(answer).c_str(), stdout);
  return 0;
}

int setpe(const SetpeRequest& r) {
  const int actions = int{r.write} + int{r.write_any} + int{r.read} + int{r.off};
  if (actions == 0 && r.check) return install(r);
  if (actions != 1) return fail("setpe: give one of -w, -W, -r, -off (or -c alone, to check)");
  if (r.read) return print_current(r);
  if (r.off) return leave(r);
  return install(r);
}

}  // namespace hpcvmm::cli
