#include "vmm/deputy/descriptor_sets.hh"

#include <fcntl.h>
#include <poll.h>
#include <sys/select.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>

#include "vmm/deputy/gate.hh"
#include "vmm/deputy/host.hh"
#include "vmm/mem/user_copy.hh"

namespace hpcvmm::deputy {
namespace {

constexpr int kStep = 64;           // Linux's tables grow by this or more
constexpr int kLeast = FD_SETSIZE;  // as long as any set is
constexpr int kMost = 1024 * 1024;  // /proc/sys/fs/nr_open, unless somebody raised it

/// No table shrinks: a descriptor that was open once is EBADF ever after, not beyond the end.
std::atomic<int> g_seen{kLeast};  // NOLINT: per process

bool is_open(int fd) {
  return raw_call(SYS_fcntl, static_cast<std::uint64_t>(fd), F_GETFD) >= 0 && !is_hidden(fd);
}

/// The highest open descriptor of the guest from `from` on and below `n`; from - 1: none.
int highest_open(int from, int n) {
  std::array<pollfd, 256> some{};
  for (int end = n; end > from;) {
    const int begin = std::max(from, end - static_cast<int>(some.size()));
    const auto count = static_cast<unsigned>(end - begin);
    for (unsigned i = 0; i < count; ++i) some[i] = {begin + static_cast<int>(i), 0, 0};
    // Only whether they are there: nothing is waited for.
    if (raw_call(SYS_poll, word(some.data()), count, 0) < 0) return n - 1;
    for (unsigned i = count; i-- > 0;)
      if ((some[i].revents & POLLNVAL) == 0 && !is_hidden(some[i].fd)) return some[i].fd;
    end = begin;
  }
  return from - 1;
}

/// The highest bit from kLeast on of the set at `guest`; kLeast - 1: none; -1: not all of it can be read.
int highest_bit(std::uint64_t guest, int n) {
  std::array<std::uint64_t, 64> some{};
  int highest = kLeast - 1;
  const int words = (n + kStep - 1) / kStep;
  for (int at = kLeast / kStep; at < words; at += static_cast<int>(some.size())) {
    const int count = std::min(words - at, static_cast<int>(some.size()));
    if (!mem::copy_in(some.data(), guest + static_cast<unsigned>(at) * sizeof some[0],
                      static_cast<unsigned>(count) * sizeof some[0]))
      return -1;
    for (int i = 0; i < count; ++i) {
      const std::uint64_t bits = some[static_cast<unsigned>(i)];
      if (bits != 0) highest = (at + i) * kStep + static_cast<int>(std::bit_width(bits)) - 1;
    }
  }
  return highest;
}

int table_with(int highest) { return (highest / kStep + 1) * kStep; }

}  // namespace

int descriptors_looked_at(int n, const std::array<std::uint64_t, 3>& sets) {
  if (n <= kLeast) return n;
  n = std::min(n, kMost);
  int table = g_seen;
  if (n <= table) return n;
  int highest = kLeast - 1;
  bool whole = true;
  for (const std::uint64_t set : sets) {
    const int bit = set != 0 ? highest_bit(set, n) : highest;
    whole = whole && bit >= 0;
    highest = std::max(highest, bit);
  }
  // Where nothing is asked for the kernel finds nothing, and writes back the zeros that are there.
  const bool known = whole && (highest < table || (highest < n && is_open(highest)));
  table = std::max(table, table_with(known ? highest : highest_open(table, n)));
  g_seen = table;  // two threads at once: one of them finds it again
  return std::min(n, table);
}

}  // namespace hpcvmm::deputy
