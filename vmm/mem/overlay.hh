// Copies of guest memory that one thread's current system call uses in place of the memory itself: the
// process runs on another node, whose pages need not come here for them.
//
// copy_in() and copy_out() of that thread look here first; pass_through() hands the kernel the copies'
// addresses (HostGate::staged).  What the call has written goes to the guest's memory when the thread runs
// guest code again, wherever that is: inline with the order to run, or with flush().
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace hpcvmm::mem {

struct OverlayArea {
  std::uint64_t guest = 0;
  std::uint32_t bytes = 0;
  std::uint8_t arg = 0;   ///< argument that leads to it
  std::uint8_t unit = 0;  ///< sys::Area
  bool out = false;
  bool text = false;  ///< ends with a 0
  std::byte* data = nullptr;
  const std::byte* before = nullptr;  ///< out without unit: what the guest's memory held
  bool apart = false;                 ///< sys::Area
  /// Somebody was given the copy, or wrote to it.  If not, the kernel had the guest's own memory.
  mutable bool used = false;
};

/// Bytes to be written to the guest's memory.
struct OverlayPiece {
  std::uint64_t guest = 0;
  const std::byte* data = nullptr;
  std::size_t bytes = 0;
};

/// Threads: its owner's only, but while that waits (then whoever answers it).
class Overlay {
 public:
  static constexpr std::size_t kMost = 20;        // sys::kMaxAreas
  static constexpr std::size_t kMostPieces = 64;  ///< a poll of that many descriptors

  void clear() { count_ = pieces_ = 0; }
  [[nodiscard]] bool empty() const { return count_ == 0; }
  /// False: there is no place for it.
  bool add(const OverlayArea& a);

  /// The copy that stands for [guest, guest + bytes) where argument `arg` leads there; 0: there is none, or
  /// it is too short.  bytes 0: a text.
  [[nodiscard]] std::uint64_t staged(unsigned arg, std::uint64_t guest, std::uint64_t bytes) const;
  /// Bytes from `guest` to the end of the copy it lies in; 0: in none.
  [[nodiscard]] std::size_t span(std::uint64_t guest) const;
  /// Copies what the overlay has of [guest, guest + bytes) and calls rest(guest, at, bytes) for the
  /// remaining pieces, `at` being their offset; false when that is.
  template <class Rest> bool read(void* to, std::uint64_t guest, std::size_t bytes, Rest rest) const {
    return walk(guest, bytes, rest,
                [to](const OverlayArea& a, std::size_t skip, std::size_t at, std::size_t n) {
                  __builtin_memcpy(static_cast<std::byte*>(to) + at, a.data + skip, n);
                });
  }
  template <class Rest>
  bool write(std::uint64_t guest, const void* from, std::size_t bytes, Rest rest) const {
    return walk(guest, bytes, rest,
                [from](const OverlayArea& a, std::size_t skip, std::size_t at, std::size_t n) {
                  a.used = true;
                  __builtin_memcpy(a.data + skip, static_cast<const std::byte*>(from) + at, n);
                });
  }

  /// The call has ended with `result` (an errno: negative).  Finds out what is to be written.
  void finish(std::int64_t result);
  [[nodiscard]] unsigned pieces() const { return pieces_; }
  [[nodiscard]] const OverlayPiece& piece(unsigned i) const { return piece_[i]; }
  /// Writes the pieces to the guest's memory from here and forgets them.  False: EFAULT.
  bool flush();
  void drop_pieces() { pieces_ = 0; }
  void drop_areas() { count_ = 0; }

 private:
  [[nodiscard]] const OverlayArea* find(std::uint64_t guest, std::uint64_t& until) const;
  void add_piece(const OverlayArea& a, std::size_t from, std::size_t to);
  void add_changes(const OverlayArea& a, unsigned most);
  template <class Rest, class Take>
  bool walk(std::uint64_t guest, std::size_t bytes, Rest rest, Take take) const {
    for (std::size_t at = 0; at < bytes;) {
      std::uint64_t until = guest + bytes;
      const OverlayArea* const a = find(guest + at, until);
      const auto n = static_cast<std::size_t>(until - (guest + at));
      if (a != nullptr) {
        take(*a, static_cast<std::size_t>(guest + at - a->guest), at, n);
      } else if (!rest(guest + at, at, n)) {
        return false;
      }
      at += n;
    }
    return true;
  }

  std::array<OverlayArea, kMost> area_;
  std::array<OverlayPiece, kMostPieces> piece_;
  unsigned count_ = 0, pieces_ = 0;
};

/// The calling thread's, while a call lasts; nullptr: it uses the guest's memory.
Overlay* overlay();
void set_overlay(Overlay* o);

}  // namespace hpcvmm::mem
