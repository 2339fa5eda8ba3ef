// The home's use of files that both ends have.
#include <algorithm>
#include <array>
#include <span>

#include "vmm/migrate/home.hh"

namespace hpcvmm::migrate {
namespace {

/// Calls each(begin, end) for every run of pages in [begin, end) that are still the file's own.
template <class F> void each_unwritten(std::uint64_t begin, std::uint64_t end, F each) {
  constexpr std::size_t kStep = 512;
  std::array<std::uint8_t, kStep> changed{};
  std::uint64_t run = begin;
  for (std::uint64_t at = begin; at < end; at += kStep * kPageSize) {
    const std::size_t n = std::min<std::uint64_t>(kStep, (end - at) / kPageSize);
    pages_private(at, std::span(changed).first(n));
    for (std::size_t i = 0; i < n; ++i) {
      if (changed[i] == 0) continue;
      const std::uint64_t page = at + i * kPageSize;
      if (run < page) each(run, page);
      run = page + kPageSize;
    }
  }
  if (run < end) each(run, end);
}

}  // namespace

/// A read-only mapping of a file: in pieces, each of one file and either unchanged (ld.so writes to some
/// before it takes the right away, and so does gdb) or to be asked for here.
void Home::describe_file(std::uint64_t begin, std::uint64_t end, std::uint32_t prot,
                         std::vector<MapEntry>& out) {
  const auto add = [&](std::uint64_t from, std::uint64_t to, std::uint16_t file, std::uint64_t offset) {
    if (from >= to) return;
    MapEntry* const last = out.empty() ? nullptr : &out.back();
    const bool joins = file == 0 && last != nullptr && last->end == from && last->file == 0 &&
                       last->kind == PageKind::Shared && last->prot == prot;
    if (joins)
      last->end = to;
    else
      out.push_back({from, to, prot, PageKind::Shared, 0, file, offset});
  };
  while (begin < end) {
    // A process that somebody watches may get breakpoints at any time.
    const HomeFiles::Stretch s = local_calls_.load() ? files_.at(begin) : HomeFiles::Stretch{};
    const std::uint64_t to = s.end > begin ? std::min(s.end, end) : end;
    if (s.id == 0) {
      add(begin, to, 0, 0);
    } else {
      std::uint64_t done = begin;
      each_unwritten(begin, to, [&](std::uint64_t from, std::uint64_t until) {
        add(done, from, 0, 0);
        add(from, until, s.id, s.offset + (from - begin));
        done = until;
      });
      add(done, to, 0, 0);
    }
    begin = to;
  }
}

/// Before Maps that may name them.
void Home::send_files() {
  const std::vector<FileEntry> news = files_.news();
  for (std::size_t at = 0; at < news.size(); at += kFilesPerMessage) {
    const std::size_t n = std::min<std::size_t>(kFilesPerMessage, news.size() - at);
    FilesHead h{};
    h.head.id = static_cast<std::uint32_t>(n);
    send(Stream::Urgent, {{&h, sizeof h}, {&news[at], n * sizeof news[0]}});
  }
}

/// Of a file mapping that is about to become anonymous: the pages that nobody has written, where the remote
/// has the file.
void Home::note_origin_locked(std::uint64_t begin, std::uint64_t end, Origins& out) {
  while (begin < end) {
    const HomeFiles::Stretch s = local_calls_.load() ? files_.at(begin) : HomeFiles::Stretch{};
    const std::uint64_t to = s.end > begin ? std::min(s.end, end) : end;
    if (s.id != 0 && files_.there(s.id))
      each_unwritten(begin, to, [&](std::uint64_t from, std::uint64_t until) {
        out.add({from, until, s.offset + (from - begin), s.id});
      });
    begin = to;
  }
}

void Home::send_file_pages(Stream stream, const FilePage* pages, std::uint32_t count) {
  FilePages p{};
  p.head.id = count;
  p.sequence = stream == Stream::Bulk ? push_sequence_ : sequence_;
  send(stream, {{&p, sizeof p}, {pages, count * sizeof *pages}});
}

/// As push_pages().
bool Home::push_file_pages(const FilePage* pages, std::uint32_t count) {
  if (!wait_for_credit(sizeof(FilePages) + count * sizeof *pages)) return false;
  send_file_pages(Stream::Bulk, pages, count);
  return true;
}

}  // namespace hpcvmm::migrate
