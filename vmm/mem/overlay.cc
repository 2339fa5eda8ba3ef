#include "vmm/mem/overlay.hh"

#include <algorithm>
#include <cstring>

#include "vmm/mem/user_copy.hh"

namespace hpcvmm::mem {
namespace {

thread_local Overlay* t_overlay = nullptr;

}  // namespace

Overlay* overlay() { return t_overlay; }
void set_overlay(Overlay* o) { t_overlay = o; }

bool Overlay::add(const OverlayArea& a) {
  if (count_ == kMost || a.bytes == 0 || a.guest + a.bytes < a.guest) return false;
  area_[count_++] = a;
  return true;
}

std::uint64_t Overlay::staged(unsigned arg, std::uint64_t guest, std::uint64_t bytes) const {
  for (unsigned i = 0; i < count_; ++i) {
    const OverlayArea& a = area_[i];
    if (a.arg != arg || a.guest != guest || bytes > a.bytes || (bytes == 0) != a.text) continue;
    a.used = true;
    return reinterpret_cast<std::uint64_t>(a.data);
  }
  return 0;
}

std::size_t Overlay::span(std::uint64_t guest) const {
  std::uint64_t until = ~std::uint64_t{0};
  return find(guest, until) != nullptr ? static_cast<std::size_t>(until - guest) : 0;
}

/// The area at `guest`, or nullptr; `until` is cut to where that answer ends.
const OverlayArea* Overlay::find(std::uint64_t guest, std::uint64_t& until) const {
  for (unsigned i = 0; i < count_; ++i) {
    const OverlayArea& a = area_[i];
    if (guest >= a.guest && guest < a.guest + a.bytes) {
      until = std::min(until, a.guest + a.bytes);
      return &a;
    }
  }
  for (unsigned i = 0; i < count_; ++i)
    if (area_[i].guest > guest) until = std::min(until, area_[i].guest);
  return nullptr;
}

void Overlay::add_piece(const OverlayArea& a, std::size_t from, std::size_t to) {
  piece_[pieces_++] = {a.guest + from, a.data + from, to - from};
}

/// What has changed of an area whose copy the guest's memory had before, in at most `most` pieces.
void Overlay::add_changes(const OverlayArea& a, unsigned most) {
  const auto changed = [&a](std::size_t at) { return a.data[at] != a.before[at]; };
  std::size_t end = a.bytes;
  while (end > 0 && !changed(end - 1)) --end;
  for (std::size_t at = 0; at < end; ++at) {
    if (!changed(at)) continue;
    std::size_t stop = at + 1;
    while (stop < end && changed(stop)) ++stop;
    if (!a.apart || --most == 0) stop = end;
    add_piece(a, at, stop);
    at = stop;
  }
}

void Overlay::finish(std::int64_t result) {
  pieces_ = 0;
  for (unsigned i = 0; i < count_; ++i) {
    const OverlayArea& a = area_[i];
    if (!a.out) continue;
    if (a.unit != 0) {
      if (result <= 0) continue;
      const std::uint64_t n = std::min<std::uint64_t>(
          static_cast<std::uint64_t>(std::min<std::int64_t>(result, INT32_MAX)) * a.unit, a.bytes);
      if (a.used) add_piece(a, 0, static_cast<std::size_t>(n));
      result -= static_cast<std::int64_t>(n / a.unit);
      continue;
    }
    // One piece at least is left for each area behind it.
    add_changes(a, static_cast<unsigned>(kMostPieces) - pieces_ - (count_ - i - 1));
  }
  count_ = 0;
}

bool Overlay::flush() {
  bool ok = true;
  for (unsigned i = 0; i < pieces_; ++i)
    ok = ok && copy_out(piece_[i].guest, piece_[i].data, piece_[i].bytes);
  pieces_ = 0;
  return ok;
}

}  // namespace hpcvmm::mem
