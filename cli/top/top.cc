#include "cli/top/top.hh"

#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <future>
#include <thread>

#include "cli/man/app_page.hh"
#include "cli/tools/client.hh"
#include "cli/top/feed.hh"
#include "cli/top/mon_screen.hh"
#include "cli/top/terminal.hh"
#include "cli/top/top_screen.hh"

namespace hpcvmm::cli {

namespace {

struct TopArguments {
  std::string cluster, sort = "cpu";
  unsigned node = 0;
  double interval = 2;
  bool once = false;
};

void add_top(CLI::App& app, TopArguments& a) {
  app.add_flag("--once", a.once, "print one screen as text and end; $COLUMNS and $LINES say how large");
  app.add_option("--interval", a.interval, "seconds between two looks")
      ->check(CLI::Range(0.2, 3600.0))
      ->capture_default_str();
  app.add_option("--sort", a.sort, "what the processes are sorted by at first")
      ->check(CLI::IsMember({"cpu", "memory", "time", "node", "pid"}))
      ->capture_default_str();
  app.add_option("--cluster", a.cluster, "another cluster of this machine, by name")
      ->envname("HPCVMM_CLUSTER");
  app.add_option("--node", a.node, "the node whose hpcd is asked; the lowest of this machine if not given")
      ->check(CLI::Range(1U, 65535U));
  app.footer(
      "Keys: m moves the process under the cursor, l locks or unlocks it, k sends it a signal, w says why it "
      "is where it is, s sorts, ? helps, q ends.");
}

SortBy sort_of(const std::string& name) {
  return name == "memory" ? SortBy::Memory
         : name == "time" ? SortBy::Time
         : name == "node" ? SortBy::Node
         : name == "pid"  ? SortBy::Pid
                          : SortBy::Cpu;
}

/// What was asked for with a key and is under way: the screen goes on meanwhile.
class Jobs {
 public:
  explicit Jobs(const Client& client) : client_(client) {}

  void start(Action action) {
    running_.push_back({action, std::async(std::launch::async, [this, action] {
                          // A move takes as long as it takes.
                          return client_.ask(action.request,
                                             action.request.value("op", "") == "migrate" ? 0 : 10'000);
                        })});
  }

  /// True: something has ended, and `view` says how.
  bool collect(TopView& view, std::size_t width) {
    bool any = false;
    for (std::size_t i = 0; i < running_.size();) {
      if (running_[i].answer.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
        ++i;
        continue;
      }
      const nlohmann::json answer = running_[i].answer.get();
      const Action action = running_[i].action;
      running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
      any = true;
      if (!answer.value("ok", false))
        view.message = action.what + ": " + answer.value("error", "refused");
      else if (action.explain)
        view.overlay = why_lines(answer, width > 4 ? width - 2 : width);
      else
        view.message = action.what + ": done";
    }
    return any;
  }

 private:
  struct Job {
    Action action;
    std::future<nlohmann::json> answer;
  };
  const Client& client_;
  std::vector<Job> running_;
};

/// A process belongs to its home: only there can it be sent a signal.
std::string send_signal(const Client& client, const Action& a) {
  const std::vector<unsigned> here = askable_nodes(client.names());
  if (std::find(here.begin(), here.end(), a.home) == here.end())
    return a.what + ": its home is node " + std::to_string(a.home) + "; send it there";
  if (::kill(a.pid, a.signal) != 0) return a.what + ": " + std::strerror(errno);
  return a.what + ": sent";
}

int top_on_terminal(const Client& client, const TopArguments& a) {
  Terminal terminal;
  if (!terminal.start()) return 1;
  Feed feed(client, a.interval, true);
  Jobs jobs(client);
  TopView view;
  view.sort = sort_of(a.sort);
  std::uint64_t shown = ~std::uint64_t{0};
  Snapshot s;
  SortBy sorted = view.sort;
  for (bool changed = true;;) {
    std::uint64_t number = 0;
    const std::shared_ptr<const Snapshot> newest = feed.latest(number);
    if (number != shown || sorted != view.sort) {
      s = *newest;
      sorted = view.sort;
      sort_processes(s.processes, view.sort);
      shown = number;
      changed = true;
    }
    changed |= jobs.collect(view, static_cast<std::size_t>(terminal.width()));
    if (changed) {
      Canvas canvas(terminal.width(), terminal.height());
      draw_top(view, s, canvas);
      terminal.show(canvas);
    }
    const int key = terminal.key(100);
    changed = key != Terminal::kNothing;
    if (key < 0) continue;
    const std::optional<Action> action = top_key(view, s, key, terminal.height());
    if (!action) continue;
    switch (action->kind) {
      case Action::Kind::Quit: return 0;
      case Action::Kind::Refresh: break;
      case Action::Kind::Kill: view.message = send_signal(client, *action); break;
      case Action::Kind::Request:
        view.message = action->what + "...";
        jobs.start(*action);
        break;
    }
    feed.hurry();
  }
}

int top_once(const Client& client, const TopArguments& a) {
  const Snapshot before = take_snapshot(client, true);
  if (!before.error.empty()) return complain(before.error);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  Snapshot s = take_snapshot(client, true);
  if (!s.error.empty()) return complain(s.error);
  set_cpu_percent(s, before);
  TopView view;
  view.sort = sort_of(a.sort);
  sort_processes(s.processes, view.sort);
  int width = 0;
  int height = 0;
  plain_size(width, height);
  Canvas canvas(width, height);
  view.message = " ";  // no line of keys
  draw_top(view, s, canvas);
  std::fputs(canvas.text().c_str(), stdout);
  return 0;
}

int mon_on_terminal(const Client& client, MonView view) {
  Terminal terminal;
  if (!terminal.start()) return 1;
  Feed feed(client, 1, false);
  for (std::uint64_t shown = ~std::uint64_t{0}, changed = 1;;) {
    std::uint64_t number = 0;
    const std::shared_ptr<const Snapshot> s = feed.latest(number);
    if (number != shown || changed != 0) {
      Canvas canvas(terminal.width(), terminal.height());
      draw_mon(view, *s, canvas);
      terminal.show(canvas);
      shown = number;
    }
    const int key = terminal.key(100);
    changed = key != Terminal::kNothing ? 1 : 0;
    if (key >= 0 && !mon_key(view, *s, key)) return 0;
  }
}

int mon_once(const Client& client, const MonView& view) {
  const Snapshot s = take_snapshot(client, false);
  if (!s.error.empty()) return complain(s.error);
  int width = 0;
  int height = 0;
  plain_size(width, height);
  Canvas canvas(width, height);
  MonView quiet = view;
  quiet.message = " ";
  draw_mon(quiet, s, canvas);
  std::fputs(canvas.text().c_str(), stdout);
  return 0;
}

}  // namespace

Page top_page(const std::string& name) {
  CLI::App app{"the nodes and processes of the cluster, live; processes are moved, locked and ended by key",
               name};
  TopArguments a;
  add_top(app, a);
  return page_of_app(app, name == "mtop" ? "" : "hpc-vmm");
}

int top_main(int argc, char** argv) {
  CLI::App app{top_page("top").summary, argv[0]};
  TopArguments a;
  add_top(app, a);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 125;
  }
  if (!a.cluster.empty() && !good_cluster_name(a.cluster))
    return complain("--cluster " + a.cluster + ": a name is 1 to 8 small letters and digits, a letter first");
  const Client client(Names{a.cluster}, a.node);
  return a.once ? top_once(client, a) : top_on_terminal(client, a);
}

Page mon_page(const std::string& name) {
  Page p;
  p.name = name;
  p.summary = "a bar for each node: load, speed, memory or utilizability";
  p.usage = {std::string(name == "mon" ? "hpc-vmm " : "") + name + " [-wvVa] [-smrulL] [-td] [+N] [--once]"};
  p.options = {
      {{"-l"}, "", "load: 1 is the work of one reference CPU, spread over what the node has", "", {}, false},
      {{"-L"}, "", "load, in steps that grow", "", {}, false},
      {{"-s"}, "", "speed of a CPU; 10000 is the reference", "", {}, false},
      {{"-m"}, "", "memory: used (#) out of all (.)", "", {}, false},
      {{"-r"}, "", "memory in use, nodes compared with each other", "", {}, false},
      {{"-u"}, "", "utilizability, per cent: less than 100 where memory is short", "", {}, false},
      {{"-w"}, "", "numbers of nodes side by side", "", {}, false},
      {{"-v"}, "", "numbers upright", "", {}, false},
      {{"-V"}, "", "numbers upright and dense", "", {}, false},
      {{"-a"}, "", "numbers as they fit", "", {}, false},
      {{"-t"}, "", "with the total of the nodes that are up", "", {}, false},
      {{"-d"}, "", "with the nodes that are down", "", {}, false},
      {{"+N"}, "", "from node N on", "", {}, false},
      {{"--once"}, "", "print one screen as text and end; $COLUMNS and $LINES say how large", "", {}, false},
      {{"-h", "--help"}, "", "this text", "", {}, false}};
  p.footer =
      "While it runs, the letters of the options are keys; D leaves out nodes that are down, Left and Right "
      "choose "
      "the node at the left edge, n and p go on and back, h helps, q ends.  $HPCVMM_CLUSTER and $HPCVMM_NODE "
      "say "
      "which hpcd is asked.";
  return p;
}

int mon_main(int argc, char** argv) {
  MonView view;
  bool once = false;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "-h" || word == "--help") {
      std::fputs(help_text(mon_page(argv[0])).c_str(), stdout);
      return 0;
    }
    if (word == "--once") {
      once = true;
    } else if (!mon_option(word, view)) {
      complain(word + ": no option of " + argv[0] + "; --help lists them");
      return 125;
    }
  }
  const Client client(Client::cluster_of_environment());
  return once ? mon_once(client, view) : mon_on_terminal(client, view);
}

}  // namespace hpcvmm::cli
