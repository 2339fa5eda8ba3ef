#include "cli/mosix/mps.hh"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <sstream>
#include <vector>

#include "cli/cluster/names.hh"
#include "cli/tools/client.hh"
#include "cli/top/canvas.hh"
#include "hpcvmm/base/unique_fd.hh"

extern char** environ;  // NOLINT

namespace hpcvmm::cli {

namespace {

std::vector<std::string> split_words(const std::string& line) {
  std::istringstream in(line);
  std::vector<std::string> out;
  for (std::string word; in >> word;) out.push_back(word);
  return out;
}

/// ps's output in `out`.  Returns its exit status.
int run_ps(int argc, char** argv, std::string& out) {
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) return complain(std::string("pipe: ") + std::strerror(errno));
  const UniqueFd from(ends[0]);
  UniqueFd to(ends[1]);
  std::vector<char*> words{const_cast<char*>("ps")};
  for (int i = 1; i < argc; ++i) words.push_back(argv[i]);
  words.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, to.get(), 1);
  pid_t pid = 0;
  const int rc = ::posix_spawnp(&pid, "ps", &actions, nullptr, words.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (rc != 0) return complain(std::string("ps: ") + std::strerror(rc) + "; remedy: apt-get install procps");
  to = UniqueFd();
  std::array<char, 65536> buffer{};
  for (ssize_t n = 0; (n = ::read(from.get(), buffer.data(), buffer.size())) > 0;)
    out.append(buffer.data(), static_cast<std::size_t>(n));
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

}  // namespace

std::string with_nodes(const std::string& ps_output, const std::map<int, MpsFacts>& facts) {
  std::istringstream lines(ps_output);
  std::string line;
  if (!std::getline(lines, line)) return ps_output;
  const std::vector<std::string> head = split_words(line);
  std::size_t column = 0;
  while (column < head.size() && head[column] != "PID") ++column;
  if (column == head.size()) return ps_output;
  std::string out = " NODE NMIGS LOCK " + line + "\n";
  while (std::getline(lines, line)) {
    const std::vector<std::string> words = split_words(line);
    const auto found = column < words.size() ? facts.find(std::atoi(words[column].c_str())) : facts.end();
    if (found == facts.end()) {
      out += "    -     -    - " + line + "\n";
      continue;
    }
    const MpsFacts& f = found->second;
    out += right(std::to_string(f.where), 5) + right(std::to_string(f.migrations), 6) +
           (f.locked ? "  yes " : "   no ") + line + "\n";
  }
  return out;
}

int mps_main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "--help") == 0) {
    std::fputs(help_text(mps_page()).c_str(), stdout);
    return 0;
  }
  const Client client(Client::cluster_of_environment());
  const nlohmann::json answer = client.ask({{"op", "ps"}});
  if (!answer.value("ok", false)) return complain(answer.value("error", "refused"));
  const std::vector<unsigned> here = askable_nodes(client.names());
  std::map<int, MpsFacts> facts;
  for (const nlohmann::json& p : answer.value("processes", nlohmann::json::array()))
    if (std::find(here.begin(), here.end(), p.value("home", 0U)) != here.end())
      facts[p.value("pid", 0)] = {p.value("where", 0U), p.value("migrations", 0U), p.value("locked", false)};
  std::string out;
  const int status = run_ps(argc, argv, out);
  std::fputs(with_nodes(out, facts).c_str(), stdout);
  return status;
}

Page mps_page() {
  Page p;
  p.name = "mps";
  p.summary = "ps with the node that each process runs on";
  p.old_name = true;
  p.usage = {"mps [OPTIONS OF PS]"};
  p.options = {{{"--help"}, "", "this text", "", {}, false}};
  p.footer =
      "Every option is ps's own (ps(1)).  Three columns come first: NODE, the node that the process runs on; "
      "NMIGS, "
      "how often it has moved; LOCK.  They hold a dash where the process is not the cluster's.  Shown are "
      "the "
      "processes of this machine; hpc-vmm ps shows those of all nodes.";
  return p;
}

}  // namespace hpcvmm::cli
