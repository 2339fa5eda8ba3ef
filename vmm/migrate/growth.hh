// Memory that a program asks for where it runs: brk, and private anonymous mappings that are small.
//
// Home grants places in advance, in which it has nothing else (it keeps them reserved); the remote hands them
// out as home's kernel would, from the break upwards and from the top of an area downwards, and says what it
// has made before it next asks home for anything (Msg::Grown).  Home grants only to a process of one thread
// that no limit of its own (RLIMIT_AS, RLIMIT_DATA) can stop.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "vmm/migrate/wire.hh"
#include "vmm/sys/row.hh"

namespace hpcvmm::migrate {

/// The remote's half: pure, of one thread.
class Growth {
 public:
  struct Pages {
    std::uint64_t begin = 0, end = 0;  ///< to be made, readable and writable
  };
  enum class Answer : std::uint8_t {
    AskHome,  ///< nothing has happened
    Done,     ///< `result` is the call's
  };

  /// In the place of what was granted before.
  void grant(const Grant& g) { grant_ = g; }

  /// brk(2) as the kernel has it: the new break, or the old one.  It grows here and shrinks at home.
  Answer brk(std::uint64_t to, std::uint64_t& result, Pages& fresh);
  /// mmap(2) without a wish for a place.
  Answer map(const sys::Args& args, std::uint64_t& result, Pages& fresh);

  /// What has been handed out since it was last told, in order.
  [[nodiscard]] std::span<const GrownPiece> untold() const { return {pieces_.data(), count_}; }
  void told() { count_ = 0; }

 private:
  bool note(const GrownPiece& piece);

  Grant grant_;
  std::array<GrownPiece, kMostGrown> pieces_{};
  std::size_t count_ = 0;
};

}  // namespace hpcvmm::migrate
