#include "cli/mosix/mosrun.hh"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

#include "cli/cluster/nodes.hh"
#include "cli/tools/client.hh"

namespace hpcvmm::cli {

namespace {

bool all_digits(const std::string& text) {
  return !text.empty() && text.size() < 6 && text.find_first_not_of("0123456789") == std::string::npos;
}

MosrunRequest wrong(const std::string& why) {
  MosrunRequest r;
  r.error = why;
  return r;
}

/// A rate of openMosix (per 1000, kept each `interval` seconds) as the nearest that hpc-vmm has a name for.
std::string nearest_decay(long rate) {
  if (rate >= 988) return rate >= 1000 ? "none" : "slow";
  return rate >= 950 ? "slow" : "fast";
}

/// What the options say in pieces; put together when all have been read.
struct Parsed {
  bool home = false, lock = false, unlock = false, keep = false, decays = false;
  long rate = -1;
};

/// One letter of a word like "-cL".  Empty: done, else what is wrong.
std::string take_letter(char c, MosrunRequest& r, Parsed& p) {
  switch (c) {
    case 'h': p.home = true; break;
    case 'F': r.anywhere = true; break;
    case 'l': p.unlock = true; break;
    case 'L': p.lock = true; break;
    case 'k': p.keep = true; break;
    case 'c':
      r.settings.kind = "cpu";
      p.decays = true;
      break;
    case 'i':
      r.settings.kind = "io";
      p.decays = true;
      break;
    case 'n':
      r.settings.decay = "none";
      p.decays = true;
      break;
    case 's':
      r.settings.decay = "slow";
      p.decays = true;
      break;
    case 'f':
      r.settings.decay = "fast";
      p.decays = true;
      break;
    case 'z': r.with_argv0 = true; break;
    // About MFS, which there is none of: no effect.
    case 'e':
    case 'E':
    case 'r':
    case 'R': break;
    default: return std::string("-") + c + ": no option of mosrun; mosrun --help lists them";
  }
  return {};
}

std::string take_number(const std::string& option, const std::vector<std::string>& words, std::size_t& at,
                        long& to) {
  std::string text = words[at].substr(2);
  if (text.empty() && at + 1 < words.size()) text = words[++at];
  if (!all_digits(text)) return option + " needs a number";
  to = std::stol(text);
  return {};
}

/// Options from words[at] on; `at` is the program's name afterwards.
std::string take_options(const std::vector<std::string>& words, std::size_t& at, MosrunRequest& r,
                         Parsed& p) {
  long seconds = 0;
  for (; at < words.size() && words[at].size() > 1 && words[at][0] == '-'; ++at) {
    const std::string& word = words[at];
    std::string why;
    if (word == "--") {
      ++at;
      return {};
    }
    if (word == "--help") {
      r.help = true;
      return {};
    }
    if (all_digits(word.substr(1))) {
      r.settings.run_on = static_cast<unsigned>(std::stoul(word.substr(1)));
      if (r.settings.run_on == 0 || r.settings.run_on > 65535)
        return word + ": nodes are numbered from 1 to 65535";
    } else if (word[1] == 'j') {
      std::vector<std::uint16_t> nodes;
      why = read_node_list(word.substr(2), nodes);
      r.one_of.assign(nodes.begin(), nodes.end());
    } else if (word[1] == 't') {
      why = take_number("-t", words, at, seconds);
      p.decays = true;
    } else if (word[1] == 'd') {
      why = take_number("-d", words, at, p.rate);
      p.decays = true;
    } else {
      for (std::size_t i = 1; i < word.size() && why.empty(); ++i) why = take_letter(word[i], r, p);
    }
    if (!why.empty()) return why;
  }
  return {};
}

void put_together(const Parsed& p, MosrunRequest& r) {
  r.settings.home_only = p.home;
  if (p.rate >= 0) r.settings.decay = nearest_decay(p.rate);
  const bool placed = p.home || r.settings.run_on != 0 || !r.one_of.empty();
  if (p.lock || p.unlock || p.keep) {
    r.settings.lock = p.lock;
    r.settings.unlock = p.unlock;
    r.keep_lock = p.keep;
  } else if (placed || !p.decays) {
    r.settings.lock = true;
  } else {
    r.keep_lock = true;
  }
}

/// What the name stands for before its own options.
void begin(const std::string& name, MosrunRequest& r, Parsed& p) {
  if (name == "nomig") p.lock = true;
  if (name == "runhome") p.home = true;
  if (name == "cpujob") r.settings.kind = "cpu";
  if (name == "iojob") r.settings.kind = "io";
  if (name == "nodecay") r.settings.decay = "none";
  if (name == "slowdecay") r.settings.decay = "slow";
  if (name == "fastdecay") r.settings.decay = "fast";
  p.decays = !r.settings.kind.empty() || !r.settings.decay.empty();
}

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

unsigned choose_node(const std::vector<unsigned>& nodes) {
  std::random_device random;
  return nodes[std::uniform_int_distribution<std::size_t>(0, nodes.size() - 1)(random)];
}

/// Empty, or why that node cannot run it.
std::string why_not_there(const Client& client, unsigned node) {
  const nlohmann::json answer = client.ask({{"op", "nodes"}});
  if (!answer.value("ok", false)) return answer.value("error", "no answer");
  for (const nlohmann::json& n : answer.value("nodes", nlohmann::json::array()))
    if (n.value("id", 0U) == node)
      return n.value("state", "") == "up" ? ""
                                          : "node " + std::to_string(node) + " is " + n.value("state", "?");
  return "there is no node " + std::to_string(node) + "; hpc-vmm nodes lists them";
}

int execute(const std::string& path, const std::vector<std::string>& words) {
  std::vector<char*> argv;
  for (const std::string& w : words) argv.push_back(const_cast<char*>(w.c_str()));
  argv.push_back(nullptr);
  ::execvp(path.c_str(), argv.data());
  complain(path + ": " + std::strerror(errno));
  return errno == ENOENT ? 127 : 126;
}

/// This process is one of the cluster's already (mosrun in a guest's shell): its settings are changed, and
/// the program takes its place.
int run_inside(const Client& client, const MosrunRequest& r) {
  const nlohmann::json set = settings_request(r);
  if (!set.empty()) {
    const nlohmann::json answer = client.ask({{"op", "process"}, {"pid", ::getpid()}, {"set", set}});
    if (!answer.value("ok", false)) {
      complain(answer.value("error", ""));
      return 125;
    }
  }
  if (r.settings.run_on != 0 || r.settings.home_only) {
    nlohmann::json move = {{"op", "migrate"}, {"pid", ::getpid()}};
    if (r.settings.run_on != 0)
      move["to"] = r.settings.run_on;
    else
      move["to"] = "home";
    const nlohmann::json answer = client.ask(move, 0);
    if (!answer.value("ok", false) && !r.anywhere && r.settings.run_on != 0) {
      complain(answer.value("error", ""));
      return 125;
    }
  }
  std::vector<std::string> words = r.program;
  const std::string path = words[0];
  if (r.with_argv0 && words.size() > 1) words.erase(words.begin());
  return execute(path, words);
}

}  // namespace

MosrunRequest read_mosrun(const std::vector<std::string>& words) {
  MosrunRequest r;
  Parsed p;
  const std::string name = base_name(words.at(0));
  begin(name, r, p);
  std::size_t at = 1;
  if (name == "runon" && words.size() > 1 && words[1] != "--help" && words[1] != "-h") {
    if (!all_digits(words[1])) return wrong("runon " + words[1] + ": the first word is the number of a node");
    r.settings.run_on = static_cast<unsigned>(std::stoul(words[at++]));
    if (r.settings.run_on == 0 || r.settings.run_on > 65535)
      return wrong("runon: nodes are numbered from 1 to 65535");
  }
  if (std::string why = take_options(words, at, r, p); !why.empty()) return wrong(why);
  if (r.help) return r;
  r.program.assign(words.begin() + static_cast<std::ptrdiff_t>(std::min(at, words.size())), words.end());
  if (r.program.empty()) return wrong(name + ": which program? " + name + " --help explains");
  const int places = (p.home ? 1 : 0) + (r.settings.run_on != 0 ? 1 : 0) + (r.one_of.empty() ? 0 : 1);
  if (places > 1) return wrong(name + ": only one of -h, -NODE and -j can be");
  if ((p.lock ? 1 : 0) + (p.unlock ? 1 : 0) + (p.keep ? 1 : 0) > 1)
    return wrong(name + ": only one of -l, -L and -k can be");
  put_together(p, r);
  return r;
}

std::vector<std::string> launch_words(const MosrunRequest& r) {
  std::vector<std::string> out{"launch"};
  const SettingsWords& s = r.settings;
  if (s.lock) out.emplace_back("--lock");
  if (s.unlock) out.emplace_back("--unlock");
  if (s.home_only) out.emplace_back("--home-only");
  if (s.run_on != 0) out.insert(out.end(), {"--run-on", std::to_string(s.run_on)});
  if (!s.kind.empty()) out.insert(out.end(), {"--kind", s.kind});
  if (!s.decay.empty()) out.insert(out.end(), {"--decay", s.decay});
  std::vector<std::string> program = r.program;
  if (r.with_argv0 && program.size() > 1) {
    out.insert(out.end(), {"--argv0", program[1]});
    program.erase(program.begin() + 1);
  }
  out.emplace_back("--");
  out.insert(out.end(), program.begin(), program.end());
  return out;
}

nlohmann::json settings_request(const MosrunRequest& r) {
  nlohmann::json set = nlohmann::json::object();
  const SettingsWords& s = r.settings;
  if (s.lock || s.unlock) set["locked"] = s.lock;
  if (s.home_only) set["home_only"] = true;
  if (s.run_on != 0) set["run_on"] = s.run_on;
  if (!s.kind.empty()) set["kind"] = s.kind;
  if (!s.decay.empty()) set["decay"] = s.decay;
  return set;
}

int mosrun_main(int argc, char** argv) {
  MosrunRequest r = read_mosrun(std::vector<std::string>(argv, argv + argc));
  if (r.help) {
    std::fputs(help_text(mosrun_page(base_name(argv[0]))).c_str(), stdout);
    return 0;
  }
  if (!r.error.empty()) {
    complain(r.error);
    return 125;
  }
  const Client client(Client::cluster_of_environment());
  if (!r.one_of.empty()) r.settings.run_on = choose_node(r.one_of);
  if (r.settings.run_on != 0) {
    if (const std::string why = why_not_there(client, r.settings.run_on); !why.empty()) {
      if (!r.anywhere) {
        complain(why + "; -F runs it elsewhere then");
        return 125;
      }
      r.settings.run_on = 0;
    }
  }
  if (client.node() != 0 && client.ask({{"op", "process"}, {"pid", ::getpid()}}, 2000).value("ok", false))
    return run_inside(client, r);
  std::vector<std::string> words = launch_words(r);
  words.insert(words.begin(), "hpc-vmm");
  return execute(own_folder() + "/hpc-vmm", words);
}

Page mosrun_page(const std::string& name) {
  static const PageOption kHome{{"-h"}, "", "run it at home, and nowhere else", "", {}, false};
  static const PageOption kNode{{"-N"}, "", "run it on node N, and fail where that node is down",
                                "",     {}, false};
  static const PageOption kZero{{"-z"}, "", "the first argument is what the program is told as its own name",
                                "",     {}, false};
  static const std::array<std::pair<const char*, const char*>, 8> kWrappers{
      {{"nomig", "run a program that is not moved"},
       {"runhome", "run a program at home"},
       {"runon", "run a program on one node"},
       {"cpujob", "run a program that computes"},
       {"iojob", "run a program that reads and writes"},
       {"nodecay", "run a program whose statistics are never forgotten"},
       {"slowdecay", "run a program whose statistics are forgotten slowly"},
       {"fastdecay", "run a program whose statistics are forgotten fast"}}};
  Page p;
  p.name = name;
  p.old_name = true;
  for (const auto& [wrapper, summary] : kWrappers)
    if (name == wrapper) p.summary = summary;
  if (name == "runon") p.positionals.push_back({{"node"}, "", "the number of the node", "", {}, true});
  p.positionals.push_back({{"program"}, "", "the program and its arguments", "", {}, true});
  if (!p.summary.empty()) {
    p.options = {kZero};
    if (name != "nomig" && name != "runhome" && name != "runon") p.options = {kHome, kNode, kZero};
    p.usage = {name +
               (name == "runon"        ? " NODE"
                : p.options.size() > 1 ? " [-h | -N]"
                                       : "") +
               " [-z] PROGRAM..."};
    p.footer = "The same as mosrun with the options of this name; mosrun(1) explains them.";
  } else {
    p.summary = "run a program in the cluster, with a place, a lock and a decay of its own";
    p.usage = {
        "mosrun [-h | -N | -jLIST] [-F] [-l | -L | -k] [-c | -i] [-n | -s | -f | [-t SECONDS] [-d RATE]] "
        "[-z] "
        "PROGRAM..."};
    p.options = {
        kHome,
        kNode,
        {{"-j"}, "LIST", "on a random node of the list, such as -j1,3-5", "", {}, false},
        {{"-F"}, "", "run it elsewhere where that node is down", "", {}, false},
        {{"-L"}, "", "lock it: it is moved by people only (and home, when its node ends)", "", {}, false},
        {{"-l"}, "", "unlock it", "", {}, false},
        {{"-k"}, "", "keep the lock of whoever starts it", "", {}, false},
        {{"-c"}, "", "it computes", "", {}, false},
        {{"-i"}, "", "it reads and writes files at home", "", {}, false},
        {{"-n"}, "", "what was measured of it is never forgotten", "", {}, false},
        {{"-s"}, "", "it is forgotten slowly", "", {}, false},
        {{"-f"}, "", "it is forgotten fast", "", {}, false},
        {{"-d"},
         "RATE",
         "per 1000 that is kept each time; the nearest of -n, -s and -f is taken",
         "",
         {},
         false},
        {{"-t"}, "SECONDS", "between two times; the node's own interval counts", "", {}, false},
        kZero,
        {{"-e", "-E", "-r", "-R"}, "", "accepted without effect", "", {}, false},
        {{"--help"}, "", "this text", "", {}, false}};
    p.footer =
        "It is locked if it is placed, or if nothing is said about how it computes or is forgotten; else it "
        "has the "
        "lock of whoever starts it.";
  }
  return p;
}

}  // namespace hpcvmm::cli
