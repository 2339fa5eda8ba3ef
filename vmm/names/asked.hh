// A system call as vmm/names looks at it, whatever the ABI of who makes it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace hpcvmm::names {

/// The structure that a call about a file's status fills.
enum class Layout : std::uint8_t {
  Stat,    ///< struct stat of x86-64
  Stat64,  ///< struct stat64 of IA32
  Stat32,  ///< struct stat of IA32, which has no room for everything
  Statx,   ///< struct statx of both
};

struct Asked {
  /// No call that anything is known of here.
  static constexpr std::uint64_t kOther = ~std::uint64_t{0};
  std::uint64_t number = kOther;  ///< of the x86-64 call that does the same
  std::array<std::uint64_t, 6> words{};
  Layout layout = Layout::Stat;
  /// lseek: IA32's _llseek, which writes the position where words[3] says.
  bool seeks_far = false;
  /// open: of a program that cannot deal with files of 2 GiB and more, unless it says that it can.
  bool is_small = false;

  std::uint64_t operator[](std::size_t i) const { return words[i]; }
  [[nodiscard]] int fd(std::size_t i) const { return static_cast<int>(words[i]); }
};

}  // namespace hpcvmm::names
