#include "vmm/gdb/breakpoints.hh"

#include <cstring>
#include <string>

namespace hpcvmm::gdb {
namespace {
constexpr std::uint8_t kInt3 = 0xcc;
}

bool Breakpoints::insert(std::uint64_t at) {
  if (contains(at)) return true;
  std::uint8_t byte = 0;
  if (memory_.read(at, &byte, 1) != 1) return false;
  if (lifted_ == 0 && !memory_.write(at, &kInt3, 1)) return false;
  saved_.emplace(at, byte);
  return true;
}

bool Breakpoints::remove(std::uint64_t at) {
  const auto it = saved_.find(at);
  if (it == saved_.end()) return true;
  // The page may be gone meanwhile, or hold another program's code: then there is nothing to put back.
  std::uint8_t now = 0;
  if (lifted_ == 0 && memory_.read(at, &now, 1) == 1 && now == kInt3 && !memory_.write(at, &it->second, 1))
    return false;
  saved_.erase(it);
  return true;
}

std::size_t Breakpoints::read(std::uint64_t at, void* to, std::size_t bytes) {
  const std::size_t n = memory_.read(at, to, bytes);
  if (lifted_ != 0) return n;
  auto* out = static_cast<std::uint8_t*>(to);
  for (auto it = saved_.lower_bound(at); it != saved_.end() && it->first - at < n; ++it)
    if (out[it->first - at] == kInt3) out[it->first - at] = it->second;
  return n;
}

bool Breakpoints::write(std::uint64_t at, const void* from, std::size_t bytes) {
  std::string image(static_cast<const char*>(from), bytes);
  if (lifted_ == 0)
    for (auto it = saved_.lower_bound(at); it != saved_.end() && it->first - at < bytes; ++it)
      image[it->first - at] = static_cast<char>(kInt3);
  if (!memory_.write(at, image.data(), bytes)) return false;
  for (auto it = saved_.lower_bound(at); it != saved_.end() && it->first - at < bytes; ++it)
    std::memcpy(&it->second, static_cast<const char*>(from) + (it->first - at), 1);
  return true;
}

void Breakpoints::lift() {
  if (lifted_++ != 0) return;
  for (const auto& [at, byte] : saved_) memory_.write(at, &byte, 1);
}

void Breakpoints::put_back() {
  if (--lifted_ != 0) return;
  for (auto& [at, byte] : saved_)
    if (memory_.read(at, &byte, 1) == 1) memory_.write(at, &kInt3, 1);
}

void Breakpoints::clear(Memory& memory) {
  if (lifted_ == 0) {
    for (const auto& [at, byte] : saved_) {
      std::uint8_t now = 0;
      if (memory.read(at, &now, 1) == 1 && now == kInt3) memory.write(at, &byte, 1);
    }
  }
  saved_.clear();
}

}  // namespace hpcvmm::gdb
