// Messages of wire.hh as bytes: reading what has come, checked against its length.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "vmm/migrate/recent.hh"
#include "vmm/migrate/wire.hh"

namespace hpcvmm::migrate {

inline void* pointer(std::uint64_t at) {
  return reinterpret_cast<void*>(at);  // NOLINT(performance-no-int-to-ptr): guest address == host address
}

/// The first sizeof(T) bytes; false: there are fewer.
template <class T> bool read_as(T& out, const std::byte* data, std::size_t bytes) {
  if (bytes < sizeof out) return false;
  std::memcpy(&out, data, sizeof out);
  return true;
}

/// Cuts `from` to what fits, with the final 0.
inline void copy_text(char* to, std::size_t room, const std::string& from) {
  const std::size_t n = std::min(room - 1, from.size());
  std::memcpy(to, from.data(), n);
  to[n] = 0;
}

/// Calls take(page, flag, content, sequence) for every entry of a Pages message, as far as it is whole;
/// `content` means something for flags that carry data; what `recent` has is passed on as what it stands
/// for, and what comes is added to it.  nullptr: such entries are passed over, without content.
template <class Take>
void for_each_page(const std::byte* data, std::size_t bytes, RecentPages* recent, Take take) {
  Pages p{};
  if (!read_as(p, data, bytes) || p.head.id > kPagesPerMessage) return;
  std::array<std::uint64_t, kPagesPerMessage> entries{};
  std::size_t at = sizeof p + p.head.id * sizeof entries[0];
  if (at > bytes) return;
  std::memcpy(entries.data(), data + sizeof p, p.head.id * sizeof entries[0]);
  for (unsigned i = 0; i < p.head.id; ++i) {
    std::uint64_t flag = entries[i] & kPageFlags;
    const std::byte* content = nullptr;
    if (carries_data(flag)) {
      if (bytes - at < kPageSize) return;
      content = data + at;
      at += kPageSize;
      if (recent != nullptr) recent->add(content);
    } else if (flag == kPageRecent || flag == kPageWarmRecent) {
      if (recent == nullptr) continue;
      content = recent->at(static_cast<unsigned>(entries[i] >> kSlotShift));
      if (content == nullptr) return;
      flag = flag == kPageRecent ? kPageData : kPageWarm;
    }
    take(page_of(entries[i]), flag, content, p.sequence);
  }
}

}  // namespace hpcvmm::migrate
