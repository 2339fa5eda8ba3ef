#include "cli/cluster/names.hh"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace hpcvmm::cli {

std::string Names::hex(unsigned number) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::string out;
  do out.insert(out.begin(), kDigits[number % 16]);
  while ((number /= 16) != 0);
  return out;
}

std::vector<unsigned> Names::nodes() const {
  std::vector<unsigned> out;
  DIR* const dir = ::opendir(run().c_str());
  if (dir == nullptr) return out;
  while (const dirent* const entry = ::readdir(dir)) {  // NOLINT(concurrency-mt-unsafe): a DIR of our own
    char* end = nullptr;
    const unsigned long n = std::strtoul(entry->d_name, &end, 10);
    const bool number = *end == 0 && n >= 1 && n <= 65535 && std::to_string(n) == entry->d_name;
    if (number && ::access((run() + "/" + entry->d_name + "/hpcd.toml").c_str(), F_OK) == 0)
      out.push_back(static_cast<unsigned>(n));
  }
  ::closedir(dir);
  std::sort(out.begin(), out.end());
  return out;
}

bool good_cluster_name(const std::string& name) {
  const auto letter = [](char c) { return c >= 'a' && c <= 'z'; };
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  return !name.empty() && name.size() <= 8 && letter(name[0]) &&
         std::all_of(name.begin(), name.end(), [&](char c) { return letter(c) || digit(c); });
}

}  // namespace hpcvmm::cli
