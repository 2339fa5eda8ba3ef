#include "cli/sim/replay.hh"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "balancer/record/record.hh"

namespace hpcvmm::cli {

int replay(const std::string& file, bool json) {
  std::ifstream in(file);
  if (!in) {
    std::fprintf(stderr, "hpc-vmm: sim replay: %s: %s\n", file.c_str(), std::strerror(errno));
    return 1;
  }
  std::size_t number = 0;
  std::size_t moves = 0;
  std::size_t bad = 0;
  nlohmann::ordered_json different = nlohmann::ordered_json::array();
  for (std::string line; std::getline(in, line);) {
    ++number;
    const auto round = balancer::record::parse(line);
    if (round == nullptr) {
      // The last line may be half written: its hpcd may have been killed.
      std::fprintf(stderr, "hpc-vmm: sim replay: %s:%zu: not a recorded decision\n", file.c_str(), number);
      ++bad;
      continue;
    }
    moves += round->moves.size();
    const std::string where = balancer::record::replay(*round);
    if (where.empty()) continue;
    different.push_back({{"line", number}, {"now_s", round->view.now_s}, {"difference", where}});
    if (!json) std::printf("%s:%zu: %s\n", file.c_str(), number, where.c_str());
  }
  const bool same = different.empty() && bad == 0;
  if (json)
    std::printf("%s\n",
                nlohmann::ordered_json(
                    {{"rounds", number}, {"moves", moves}, {"unreadable", bad}, {"different", different}})
                    .dump(2)
                    .c_str());
  else
    std::printf("%zu rounds with %zu moves, %zu decided otherwise now.\n", number - bad, moves,
                different.size());
  return same ? 0 : 1;
}

}  // namespace hpcvmm::cli
