#include "vmm/mem/user_copy.hh"

#include <algorithm>
#include <cstring>

#include "hpcvmm/base/layout.hh"
#include "vmm/mem/overlay.hh"

extern "C" {
bool hpcvmm_user_copy(void* to, const void* from, std::size_t bytes);
bool hpcvmm_user_probe(void* at);
extern const char hpcvmm_user_copy_insn[];    // NOLINT: labels of user_copy_asm.S
extern const char hpcvmm_user_copy_failed[];  // NOLINT
extern const char hpcvmm_user_probe_insn[];   // NOLINT
}

namespace hpcvmm::mem {
namespace {
bool bad(std::uint64_t guest, std::size_t bytes) {
  return guest + bytes > kTaskSize64 || touches_zone(guest, bytes);
}
}  // namespace

bool copy_in(void* to, std::uint64_t guest, std::size_t bytes) {
  if (bytes == 0) return true;
  if (bad(guest, bytes)) return false;
  const auto copy = [to](std::uint64_t from, std::size_t at, std::size_t n) {
    return hpcvmm_user_copy(static_cast<char*>(to) + at, reinterpret_cast<const void*>(from), n);
  };
  const Overlay* const over = overlay();
  return over != nullptr ? over->read(to, guest, bytes, copy) : copy(guest, 0, bytes);
}

bool copy_out(std::uint64_t guest, const void* from, std::size_t bytes) {
  if (bytes == 0) return true;
  if (bad(guest, bytes)) return false;
  const auto copy = [from](std::uint64_t to, std::size_t at, std::size_t n) {
    return hpcvmm_user_copy(reinterpret_cast<void*>(to), static_cast<const char*>(from) + at, n);
  };
  const Overlay* const over = overlay();
  return over != nullptr ? over->write(guest, from, bytes, copy) : copy(guest, 0, bytes);
}

bool is_writable(std::uint64_t guest, std::size_t bytes) {
  if (bytes == 0) return true;
  if (bad(guest, bytes)) return false;
  for (std::uint64_t at = guest; at < guest + bytes; at = page_down(at) + kPageSize)
    if (!hpcvmm_user_probe(reinterpret_cast<void*>(at))) return false;
  return true;
}

std::ptrdiff_t copy_in_string(char* to, std::uint64_t guest, std::size_t room) {
  std::size_t have = 0;
  while (have < room) {
    // Never past the page: the string may end right before unmapped memory.
    std::size_t piece =
        std::min(room - have, static_cast<std::size_t>(kPageSize - (guest + have) % kPageSize));
    // Nor past the end of a copy, which is that of the string: behind it are pages.
    if (const Overlay* const over = overlay())
      if (const std::size_t n = over->span(guest + have); n != 0) piece = std::min(piece, n);
    if (!copy_in(to + have, guest + have, piece)) return -1;
    if (const void* end = std::memchr(to + have, 0, piece)) return static_cast<const char*>(end) - to;
    have += piece;
  }
  return static_cast<std::ptrdiff_t>(room);
}

std::uint64_t fix_user_copy(std::uint64_t rip) {
  const auto is = [rip](const char* label) { return rip == reinterpret_cast<std::uint64_t>(label); };
  if (!is(hpcvmm_user_copy_insn) && !is(hpcvmm_user_probe_insn)) return 0;
  return reinterpret_cast<std::uint64_t>(hpcvmm_user_copy_failed);
}

}  // namespace hpcvmm::mem
