#include "cli/mosix/mosctl.hh"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <sstream>

#include "cli/cluster/command.hh"
#include "cli/mosix/yardstick.hh"
#include "cli/tools/client.hh"
#include "cli/top/model.hh"

namespace hpcvmm::cli {

using nlohmann::json;
using Show = MosctlPlan::Show;

namespace {

constexpr std::array<const char*, 7> kOrders{"stay", "lstay", "block", "quiet", "expel", "bring", "drain"};

const std::map<std::string, Show>& queries() {
  static const std::map<std::string, Show> kQueries{
      {"getload", Show::Load},  {"getspeed", Show::Speed}, {"status", Show::Status}, {"isup", Show::IsUp},
      {"getmem", Show::Memory}, {"getfree", Show::Free},   {"getutil", Show::Util}};
  return kQueries;
}

/// -1: not a number from 0 to `most`.
long number(const std::string& text, long most) {
  if (text.empty() || text.size() > 9 || text.find_first_not_of("0123456789") != std::string::npos) return -1;
  const long n = std::stol(text);
  return n <= most ? n : -1;
}

MosctlPlan wrong(const std::string& why) {
  MosctlPlan p;
  p.error = why;
  return p;
}

json ctl(const json& set) { return {{"op", "ctl"}, {"set", set}}; }

/// "stay", "nostay", "-stay": which order, and whether it is given.  False: neither.
bool read_order(const std::string& word, std::string& order, bool& given) {
  given = true;
  order = word;
  if (word.starts_with("no")) order = word.substr(2);
  if (word.starts_with("-")) order = word.substr(1);
  given = order == word;
  return std::find(kOrders.begin(), kOrders.end() - 1, order) != kOrders.end() - 1;
}

MosctlPlan plan_set(const std::vector<std::string>& words) {
  MosctlPlan p;
  const std::string& verb = words[0];
  if (verb == "setspeed") {
    const long n = words.size() == 2 ? number(words[1], 100'000'000) : -1;
    if (n < 0) return wrong("mosctl setspeed NUMBER: 10000 is the reference CPU, 0 what was measured");
    p.request = ctl({{"speed", static_cast<double>(n) / kOldSpeed}});
    return p;
  }
  if (verb == "setyard") {
    if (words.size() != 2) return wrong("mosctl setyard {NUMBER | this}");
    if (words[1] != "this" && number(words[1], 100'000'000) <= 0)
      return wrong("setyard " + words[1] + ": give a speed (10000 is the reference CPU), or this");
    p.argument = words[1];
    p.show = Show::SetYard;
    p.request = {{"op", "nodes"}};
    return p;
  }
  const long interval = words.size() >= 2 ? number(words[1], 86400) : -1;
  if (interval <= 0 || (words.size() != 2 && words.size() != 4))
    return wrong("mosctl setdecay SECONDS [SLOW FAST], each of them per 1000");
  json set = {{"decay_interval", interval}};
  if (words.size() == 4) {
    const long slow = number(words[2], 1000);
    const long fast = number(words[3], 1000);
    if (slow < 0 || fast < 0) return wrong("setdecay: what is kept is a number from 0 to 1000");
    set["slow_decay"] = slow;
    set["fast_decay"] = fast;
  }
  p.request = ctl(set);
  return p;
}

const json* find_node(const json& answer, unsigned id) {
  for (const json& n : answer.at("nodes"))
    if (n.value("id", 0U) == id) return &n;
  return nullptr;
}

std::string number_text(const json& value) {
  if (value.is_boolean()) return value.get<bool>() ? "1" : "0";
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_number_float()) return value.dump();
  std::ostringstream out;  // 1, not 1.0
  out << value.get<double>();
  return out.str();
}

MosctlText whois_text(const MosctlPlan& plan, const json& answer) {
  if (plan.argument.empty())
    return {"This is openMosix #" + std::to_string(answer.value("self", 0U)) + "\n", "", 0};
  const long id = number(plan.argument, 65535);
  for (const json& n : answer.at("nodes")) {
    const std::string address = n.value("address", "");
    const std::string ip = address.substr(0, address.rfind(':'));
    if (id >= 0 && n.value("id", 0U) == static_cast<unsigned>(id)) return {ip + "\n", "", 0};
    if (id < 0 && ip == plan.argument) return {std::to_string(n.value("id", 0U)) + "\n", "", 0};
  }
  return {"", plan.argument + " is no node of this cluster", 1};
}

std::string status_text(const json& n) {
  std::string out = "node " + std::to_string(n.value("id", 0U)) + ": " + n.value("state", "?");
  for (const json& o : n.value("orders", json::array()))
    if (o.is_string()) out += " " + o.get<std::string>();
  if (n.contains("why")) out += " (" + n.value("why", "") + ")";
  return out + "\n";
}

MosctlText node_text(const MosctlPlan& plan, const json& answer, double yard) {
  const unsigned id = plan.node != 0 ? plan.node : answer.value("self", 0U);
  const json* const found = find_node(answer, id);
  if (plan.show == Show::IsUp) {
    const bool up =
        found != nullptr && (found->value("state", "") == "up" || found->value("state", "") == "draining");
    return {up ? "yes\n" : "no\n", "", up ? 0 : 1};
  }
  if (found == nullptr)
    return {"", "there is no node " + std::to_string(id) + "; hpc-vmm nodes lists them", 1};
  if (plan.show == Show::Status) return {status_text(*found), "", 0};
  const Snapshot s = read_snapshot({{"ok", true}, {"nodes", json::array({*found})}}, json::object(), "");
  const NodeRow& n = s.nodes.at(0);
  if (!n.up()) return {"", "node " + std::to_string(id) + " is " + n.state, 1};
  switch (plan.show) {
    case Show::Load: return {std::to_string(std::lround(100 * n.relative_load() * yard)) + "\n", "", 0};
    case Show::Speed: return {std::to_string(std::lround(kOldSpeed * n.speed)) + "\n", "", 0};
    case Show::Memory:
    case Show::Free: return {std::to_string(n.memory_free) + "\n", "", 0};
    default: return {std::to_string(std::lround(100 * (1 - std::clamp(n.paging, 0.0, 1.0)))) + "\n", "", 0};
  }
}

void show_left(const json& line) {
  if (::isatty(2) == 0 || !line.contains("progress")) return;
  std::fprintf(stderr, "\r\033[K%u processes left", line["progress"].value("left", 0U));
}

/// A name that the resolver knows as an address; what it does not know stays as it is.
std::string resolved(const std::string& name) {
  addrinfo hints{};
  hints.ai_family = AF_INET;
  addrinfo* list = nullptr;
  if (::getaddrinfo(name.c_str(), nullptr, &hints, &list) != 0 || list == nullptr) return name;
  std::array<char, 64> text{};
  ::getnameinfo(list->ai_addr, list->ai_addrlen, text.data(), text.size(), nullptr, 0, NI_NUMERICHOST);
  ::freeaddrinfo(list);
  return text.data();
}

int set_yard(const Client& client, const MosctlPlan& plan, const json& answer) {
  double speed = 0;
  if (plan.argument == "this") {
    const json* const own = find_node(answer, answer.value("self", 0U));
    speed = own != nullptr ? own->value("speed", 1.0) : 1.0;
  } else {
    speed = std::stod(plan.argument) / kOldSpeed;
  }
  const std::string why = write_yardstick(client.names(), client.node(), speed);
  return why.empty() ? 0 : complain(why);
}

}  // namespace

MosctlPlan plan_mosctl(const std::vector<std::string>& words) {
  MosctlPlan p;
  if (words.empty()) return wrong("mosctl: which verb? mosctl --help lists them");
  const std::string& verb = words[0];
  std::string order;
  bool given = false;
  if (verb == "nomfs") return p;  // there is no MFS to end
  if (verb == "mfs" || verb == "-nomfs")
    return wrong("there is no MFS: a process's files are those of its home, wherever it runs");
  if (read_order(verb, order, given)) {
    if (words.size() > 1) return wrong("mosctl " + verb + " takes nothing more");
    p.request = ctl({{order, given}});
    p.waits = given && (order == "expel" || order == "bring");
    return p;
  }
  if (verb.starts_with("set")) {
    if (verb == "setspeed" || verb == "setyard" || verb == "setdecay") return plan_set(words);
    return wrong("mosctl " + verb + ": no such verb; mosctl --help lists them");
  }
  if (words.size() > 2) return wrong("mosctl " + verb + " takes one word at most");
  const auto query = queries().find(verb);
  if (verb == "gettune" || verb == "getdecay") {
    p.request = {{"op", "ctl"}};
    p.show = verb == "gettune" ? Show::Tune : Show::Decay;
  } else if (verb == "getyard") {
    p.show = Show::Yard;
  } else if (verb == "whois") {
    p.request = {{"op", "nodes"}};
    p.show = Show::Whois;
    if (words.size() == 2) p.argument = words[1];
  } else if (query != queries().end()) {
    p.request = {{"op", "nodes"}};
    p.show = query->second;
    const long id = words.size() == 2 ? number(words[1], 65535) : 0;
    if (id < 0 || (id == 0 && words.size() == 2)) return wrong(words[1] + ": not the number of a node");
    p.node = static_cast<unsigned>(id);
  } else {
    return wrong("mosctl " + verb + ": no such verb; mosctl --help lists them");
  }
  return p;
}

MosctlText mosctl_text(const MosctlPlan& plan, const json& answer, double yard) {
  const json settings = answer.value("settings", json::object());
  switch (plan.show) {
    case Show::Nothing:
    case Show::SetYard: return {};
    case Show::Yard: return {std::to_string(std::lround(kOldSpeed * yard)) + "\n", "", 0};
    case Show::Tune: {
      MosctlText t;
      for (const auto& [key, value] : settings.items())
        if (value.is_number()) t.out += key + " " + number_text(value) + "\n";
      return t;
    }
    case Show::Decay:
      return {"every " + number_text(settings.value("decay_interval", json(0))) + " seconds; kept: slow " +
                  number_text(settings.value("slow_decay", json(0))) + ", fast " +
                  number_text(settings.value("fast_decay", json(0))) + " per 1000\n",
              "", 0};
    case Show::Whois: return whois_text(plan, answer);
    default: return node_text(plan, answer, yard);
  }
}

int mosctl_main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words.empty() || words[0] == "--help" || words[0] == "-h") {
    std::fputs(help_text(mosctl_page()).c_str(), words.empty() ? stderr : stdout);
    return words.empty() ? 125 : 0;
  }
  MosctlPlan plan = plan_mosctl(words);
  if (!plan.error.empty()) {
    complain(plan.error);
    return 125;
  }
  const Client client(Client::cluster_of_environment());
  json answer = json::object();
  if (!plan.request.is_null()) {
    answer = client.ask(plan.request, plan.waits ? 0 : 10'000, show_left);
    if (plan.waits && ::isatty(2) != 0) std::fputs("\r\033[K", stderr);
    if (!answer.value("ok", false)) {
      if (plan.show != Show::IsUp) return complain(answer.value("error", "refused"));
      std::fputs("no\n", stdout);
      return 1;
    }
  }
  if (plan.show == Show::SetYard) return set_yard(client, plan, answer);
  const double yard = read_yardstick(client.names(), client.node());
  MosctlText text = mosctl_text(plan, answer, yard);
  if (!text.error.empty() && plan.show == Show::Whois) {
    plan.argument = resolved(plan.argument);
    text = mosctl_text(plan, answer, yard);
  }
  std::fputs(text.out.c_str(), stdout);
  if (!text.error.empty()) complain(text.error);
  return text.status;
}

Page mosctl_page() {
  Page p;
  p.name = "mosctl";
  p.summary = "orders to this node, and questions about the nodes of the cluster";
  p.old_name = true;
  p.usage = {"mosctl {stay|lstay|block|quiet|expel|bring} (and the same with no: nostay...)",
             "mosctl {gettune|getyard|getdecay|nomfs|mfs}",
             "mosctl whois [NODE|ADDRESS|HOST]",
             "mosctl {getload|getspeed|status|isup|getmem|getfree|getutil} [NODE]",
             "mosctl setyard {NUMBER|this}",
             "mosctl setspeed NUMBER",
             "mosctl setdecay SECONDS [SLOW FAST]"};
  PageOption verb{{"verb"}, "", "what to do, or what to tell", "", {}, true};
  for (const char* order : kOrders) {
    if (std::string(order) == "drain") continue;
    verb.choices.emplace_back(order);
    verb.choices.push_back(std::string("no") + order);
  }
  for (const char* other :
       {"nomfs", "mfs", "gettune", "getyard", "getdecay", "whois", "getload", "getspeed", "status", "isup",
        "getmem", "getfree", "getutil", "setyard", "setspeed", "setdecay"})
    verb.choices.emplace_back(other);
  p.positionals = {verb, {{"node"}, "", "a node's number", "", {}, false}};
  p.options = {{{"-h", "--help"}, "", "this text", "", {}, false}};
  p.footer =
      "stay: no automatic move from here.  lstay: not of this node's own processes.  block: no guests.  "
      "quiet: the "
      "node tells the others nothing.  expel: sends all guests away, and blocks.  bring: brings the node's "
      "own "
      "processes home, and keeps them.  The last two return when that is done.\n"
      "Units: load 100 is the work of one yardstick CPU, spread over what the node has; speed 10000 the "
      "reference "
      "CPU; memory in bytes; utilizability in per cent.  isup ends with 0 for yes, 1 for no.\n"
      "mfs is refused: there is no MFS, a process's files are its home's.";
  return p;
}

Page old_migrate_page() {
  Page p;
  p.name = "migrate";
  p.summary = "move a process to another node, home, or where the balancer likes";
  p.old_name = true;
  p.usage = {"migrate PID {NODE|home|balance}"};
  p.positionals = {{{"pid"}, "", "its number at its home", "", {}, true},
                   {{"to"}, "", "the number of a node, home, or balance", "", {}, true}};
  p.options = {{{"-h", "--help"}, "", "this text", "", {}, false}};
  p.footer = "root moves any process, everybody else his own.  Exit status: 0 only if it runs there now.";
  return p;
}

int old_migrate_main(int argc, char** argv) {
  if (argc == 2 && (std::strcmp(argv[1], "--help") == 0 || std::strcmp(argv[1], "-h") == 0)) {
    std::fputs(help_text(old_migrate_page()).c_str(), stdout);
    return 0;
  }
  if (argc != 3) {
    std::fputs(help_text(old_migrate_page()).c_str(), stderr);
    return 125;
  }
  const long pid = number(argv[1], 0x7fff'ffff);
  const std::string to = argv[2];
  const long node = number(to, 65535);
  if (pid <= 0) return complain(std::string(argv[1]) + ": not a process number; hpc-vmm ps lists them");
  if (node < 0 && to != "home" && to != "balance")
    return complain(to + ": neither the number of a node nor home nor balance");
  json request = {{"op", "migrate"}, {"pid", pid}};
  if (node > 0)
    request["to"] = node;
  else
    request["to"] = node == 0 ? "home" : to;
  const Client client(Client::cluster_of_environment());
  const json answer = client.ask(request, 0);
  return answer.value("ok", false) ? 0 : complain(answer.value("error", "refused"));
}

}  // namespace hpcvmm::cli
