// Messages of wire.hh as bytes: reading what has come, checked against its length.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

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

/// Entries of a Pages message that stand for the same: one, or pages with data side by side.
struct PageRun {
  std::uint64_t page = 0, flag = 0;
  const std::byte* content = nullptr;  ///< for flags that carry data
  unsigned count = 0;
};

/// Calls one(page, flag, content) for each page of `run`; of several, first plain(run), which returns how
/// many it has done in one go.
template <class Plain, class One> void for_each_page(const PageRun& run, Plain plain, One one) {
  for (unsigned done = run.count > 1 ? plain(run) : 0; done < run.count; ++done) {
    const std::uint64_t offset = done * kPageSize;
    one(run.page + offset, run.flag, run.content != nullptr ? run.content + offset : nullptr);
  }
}

/// Calls take(run, sequence) for every entry of a Pages message, as far as it is whole: neighbours with data
/// in one call.  What `recent` has is passed on as what it stands for, and what comes is added to it.
/// nullptr: such entries are passed over, without content.
template <class Take>
void for_each_run(const std::byte* data, std::size_t bytes, RecentPages* recent, Take take) {
  Pages p{};
  if (!read_as(p, data, bytes) || p.head.id > kPagesPerMessage) return;
  std::array<std::uint64_t, kPagesPerMessage> entries{};
  std::size_t at = sizeof p + p.head.id * sizeof entries[0];
  if (at > bytes) return;
  std::memcpy(entries.data(), data + sizeof p, p.head.id * sizeof entries[0]);
  PageRun run;
  const auto flush = [&] {
    if (run.count != 0) take(std::as_const(run), p.sequence);
    run.count = 0;
  };
  for (unsigned i = 0; i < p.head.id; ++i) {
    PageRun next{page_of(entries[i]), entries[i] & kPageFlags, nullptr, 1};
    const std::uint64_t flag = next.flag;
    if (carries_data(flag)) {
      if (bytes - at < kPageSize) break;
      next.content = data + at;
      at += kPageSize;
      if (recent != nullptr && takes_slot(flag)) recent->add(next.content);
      next.flag = flag == kPageData || flag == kPagePassed ? kPageData : kPageWarm;
    } else if (flag == kPageRecent || flag == kPageWarmRecent) {
      if (recent == nullptr) continue;
      next.content = recent->at(static_cast<unsigned>(entries[i] >> kSlotShift));
      if (next.content == nullptr) break;
      next.flag = flag == kPageRecent ? kPageData : kPageWarm;
    }
    const std::uint64_t bytes_before = run.count * kPageSize;
    if (run.count != 0 && run.flag == kPageData && next.flag == kPageData &&
        next.page == run.page + bytes_before && next.content == run.content + bytes_before) {
      ++run.count;
      continue;
    }
    flush();
    run = next;
    // A slot's content stands until the next page is added.
    if (!carries_data(flag)) flush();
  }
  flush();
}

}  // namespace hpcvmm::migrate
