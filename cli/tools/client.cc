#include "cli/tools/client.hh"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "cli/cluster/api_client.hh"

namespace hpcvmm::cli {

namespace {

/// 0: not a node's number.
unsigned node_number(const char* text) {
  char* end = nullptr;
  const unsigned long n = std::strtoul(text, &end, 10);
  return text[0] >= '0' && text[0] <= '9' && *end == 0 && n <= 65535 ? static_cast<unsigned>(n) : 0;
}

}  // namespace

std::vector<unsigned> askable_nodes(const Names& names) {
  std::vector<unsigned> out;
  DIR* const dir = ::opendir(names.run().c_str());
  if (dir == nullptr) return out;
  while (const dirent* const entry = ::readdir(dir)) {  // NOLINT(concurrency-mt-unsafe): a DIR of our own
    const unsigned n = node_number(entry->d_name);
    if (n != 0 && ::access((names.node_dir(n) + "/api.sock").c_str(), F_OK) == 0) out.push_back(n);
  }
  ::closedir(dir);
  std::sort(out.begin(), out.end());
  return out;
}

Client::Client(Names names, unsigned node) : names_(std::move(names)), node_(node) {
  if (node_ != 0) return;
  const char* const own = std::getenv("HPCVMM_NODE");  // NOLINT(concurrency-mt-unsafe): nobody sets it
  if (own != nullptr) node_ = node_number(own);
  if (node_ != 0) return;
  const std::vector<unsigned> nodes = askable_nodes(names_);
  if (!nodes.empty()) node_ = nodes.front();
}

Names Client::cluster_of_environment() {
  const char* const name = std::getenv("HPCVMM_CLUSTER");  // NOLINT(concurrency-mt-unsafe): nobody sets it
  if (name == nullptr || *name == 0) return {};
  if (good_cluster_name(name)) return {name};
  std::exit(complain(std::string("HPCVMM_CLUSTER=") + name +  // NOLINT(concurrency-mt-unsafe): at the start
                     ": a name is 1 to 8 small letters and digits, a letter first"));
}

nlohmann::json Client::ask(const nlohmann::json& request, int timeout_ms,
                           const std::function<void(const nlohmann::json&)>& progress) const {
  const auto no = [](const std::string& why) { return nlohmann::json{{"ok", false}, {"error", why}}; };
  if (node_ == 0) return no("no cluster is up on this machine; remedy: hpc-vmm up" + names_.option());
  ApiAnswer answer = ask_api(names_.node_dir(node_) + "/api.sock", request, timeout_ms, progress);
  if (!answer.answered)
    return no("the hpcd of node " + std::to_string(node_) + " does not answer: " + answer.error);
  if (!answer.json.value("ok", false) && !answer.json.contains("error"))
    answer.json["error"] = "the request was refused";
  return std::move(answer.json);
}

int complain(const std::string& what) {
  std::fprintf(stderr, "hpc-vmm: %s\n", what.c_str());
  return 1;
}

}  // namespace hpcvmm::cli
