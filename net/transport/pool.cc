#include "net/transport/pool.hh"

#include <new>

namespace hpcvmm::net {

std::size_t Buffers::size_class(std::uint32_t bytes) {
  std::size_t c = 0;
  while (c + 1 < kClasses && kSizes[c] < bytes) ++c;
  return c;
}

Buffers::~Buffers() {
  for (auto& list : free_) {
    for (std::byte* memory : list) ::operator delete (memory, std::align_val_t{64});
  }
}

std::byte* Buffers::take(std::uint32_t bytes) {
  const std::size_t c = size_class(bytes);
  if (!free_[c].empty()) {
    std::byte* const memory = free_[c].back();
    free_[c].pop_back();
    return memory;
  }
  return static_cast<std::byte*>(::operator new (kSizes[c], std::align_val_t{64}));
}

void Buffers::give(std::byte* memory, std::uint32_t bytes) {
  const std::size_t c = size_class(bytes);
  if (free_[c].size() * kSizes[c] >= kKeep) {
    ::operator delete (memory, std::align_val_t{64});
  } else {
    free_[c].push_back(memory);
  }
}

}  // namespace hpcvmm::net
