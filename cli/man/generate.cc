// Writes man pages and completions: hpcvmm-generate DIR DATE FILE...; each FILE is a JSON list of pages, as
// `hpc-vmm --dump-cli` prints it.  The daemon's pages are added, and written to DIR/daemon.json as well.
#include <cstdio>
#include <fstream>
#include <iterator>

#include "cli/man/completion.hh"
#include "cli/man/daemon_pages.hh"
#include "cli/man/roff.hh"

namespace {

bool write(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary);
  out << text;
  out.close();
  if (!out) std::fprintf(stderr, "%s: cannot be written\n", path.c_str());
  return static_cast<bool>(out);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace hpcvmm::cli;
  if (argc < 4) {
    std::fputs("usage: hpcvmm-generate DIR DATE FILE...\n", stderr);
    return 2;
  }
  const std::string folder = argv[1];
  const ManSetting setting{HPCVMM_VERSION, argv[2]};
  std::vector<Page> pages;
  for (int i = 3; i < argc; ++i) {
    std::ifstream in(argv[i], std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    const nlohmann::json list = nlohmann::json::parse(text, nullptr, false);
    if (!list.is_array()) {
      std::fprintf(stderr, "%s: no list of pages\n", argv[i]);
      return 1;
    }
    for (const nlohmann::json& page : list) pages.push_back(page_of_json(page));
  }
  nlohmann::json daemon = nlohmann::json::array();
  for (const Page& page : daemon_pages()) {
    pages.push_back(page);
    daemon.push_back(page_json(page));
  }
  bool good = write(folder + "/daemon.json", daemon.dump(1) + "\n");
  good &= write(folder + "/hpc-vmm.1", man_overview(pages, setting));
  for (const Page& page : pages)
    good &= write(folder + "/" + man_name(page) + "." + page.section, man_page(page, setting));
  good &= write(folder + "/hpc-vmm.bash", bash_completion(pages));
  good &= write(folder + "/_hpc-vmm", zsh_completion(pages));
  return good ? 0 : 1;
}
