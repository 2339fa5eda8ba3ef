#include "vmm/migrate/growth.hh"

#include <sys/mman.h>

#include "hpcvmm/base/layout.hh"

namespace hpcvmm::migrate {

Growth::Answer Growth::brk(std::uint64_t to, std::uint64_t& result, Pages& fresh) {
  if (grant_.brk == 0) return Answer::AskHome;
  // A failing brk returns the old one.  Source: brk(2), C library/kernel differences.
  result = grant_.brk;
  if (to < grant_.brk_start || to == grant_.brk) return Answer::Done;
  const std::uint64_t begin = page_up(grant_.brk);
  const std::uint64_t end = page_up(to);
  if (to < grant_.brk || to > grant_.brk_end) return Answer::AskHome;
  if (!note({begin, to, kGrownBreak})) return Answer::AskHome;
  grant_.brk = result = to;
  if (end > begin) fresh = {begin, end};
  return Answer::Done;
}

Growth::Answer Growth::map(const sys::Args& args, std::uint64_t& result, Pages& fresh) {
  constexpr std::uint64_t kRights = PROT_READ | PROT_WRITE;
  constexpr std::uint64_t kPlain = MAP_PRIVATE | MAP_ANONYMOUS;
  const std::uint64_t bytes = page_up(args[1]);
  const bool small = args[1] != 0 && args[1] <= kMostGrownBytes;
  if (args[0] != 0 || !small || args[2] != kRights || args[3] != kPlain || args[5] % kPageSize != 0)
    return Answer::AskHome;
  if (bytes > grant_.area_end - grant_.area_begin) return Answer::AskHome;
  const std::uint64_t at = grant_.area_end - bytes;
  if (!note({at, grant_.area_end, kGrownMapping})) return Answer::AskHome;
  grant_.area_end = result = at;
  fresh = {at, at + bytes};
  return Answer::Done;
}

/// Neighbours become one, as in the kernel.
bool Growth::note(const GrownPiece& piece) {
  for (std::size_t i = 0; i < count_; ++i) {
    GrownPiece& p = pieces_[i];
    if (p.kind != piece.kind) continue;
    if (piece.kind == kGrownBreak) {
      p.end = piece.end;
      return true;
    }
    if (piece.end == p.begin) {
      p.begin = piece.begin;
      return true;
    }
  }
  if (count_ == pieces_.size()) return false;
  pieces_[count_++] = piece;
  return true;
}

}  // namespace hpcvmm::migrate
