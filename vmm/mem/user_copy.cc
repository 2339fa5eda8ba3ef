#include "vmm/mem/user_copy.hh"

#include <algorithm>
#include <cstring>

#include "hpcvmm/base/layout.hh"

extern "C" {
bool hpcvmm_user_copy(void* to, const void* from, std::size_t bytes);
extern const char hpcvmm_user_copy_insn[];    // NOLINT: labels of user_copy_asm.S
extern const char hpcvmm_user_copy_failed[];  // NOLINT
}

namespace hpcvmm::mem {
namespace {
bool bad(std::uint64_t guest, std::size_t bytes) {
  return guest + bytes > kTaskSize64 || touches_zone(guest, bytes);
}
}  // namespace

bool copy_in(void* to, std::uint64_t guest, std::size_t bytes) {
  if (bytes == 0) return true;
  return !bad(guest, bytes) && hpcvmm_user_copy(to, reinterpret_cast<const void*>(guest), bytes);
}

bool copy_out(std::uint64_t guest, const void* from, std::size_t bytes) {
  if (bytes == 0) return true;
  return !bad(guest, bytes) && hpcvmm_user_copy(reinterpret_cast<void*>(guest), from, bytes);
}

std::ptrdiff_t copy_in_string(char* to, std::uint64_t guest, std::size_t room) {
  std::size_t have = 0;
  while (have < room) {
    // Never past the page: the string may end right before unmapped memory.
    const std::size_t piece =
        std::min(room - have, static_cast<std::size_t>(kPageSize - (guest + have) % kPageSize));
    if (!copy_in(to + have, guest + have, piece)) return -1;
    if (const void* end = std::memchr(to + have, 0, piece)) return static_cast<const char*>(end) - to;
    have += piece;
  }
  return static_cast<std::ptrdiff_t>(room);
}

std::uint64_t fix_user_copy(std::uint64_t rip) {
  if (rip != reinterpret_cast<std::uint64_t>(hpcvmm_user_copy_insn)) return 0;
  return reinterpret_cast<std::uint64_t>(hpcvmm_user_copy_failed);
}

}  // namespace hpcvmm::mem
