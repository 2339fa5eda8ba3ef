// A remote's use of files that its node has, too.
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "vmm/migrate/bytes.hh"
#include "vmm/migrate/host.hh"
#include "vmm/migrate/remote_impl.hh"

namespace hpcvmm::migrate {
namespace {
/// hpcd answers at once from what it has in memory; a late answer counts for later mappings.
constexpr std::uint64_t kAnswerUs = 5000;
}  // namespace

/// By the pager before anything runs, by the worker afterwards.  The mappings that name these files come
/// next.
void Remote::on_files(const std::byte* data, std::size_t bytes) {
  files_.ask(data, bytes);
  const std::uint64_t end = now_us() + kAnswerUs;
  for (;;) {
    const std::uint32_t open = files_.open_questions().load();
    if (open == 0 || now_us() >= end) break;
    if (running_) {
      futex_wait(&files_.open_questions(), open, 200);
      continue;
    }
    pollfd p{link_.control_fd(), POLLIN, 0};
    if (::poll(&p, 1, 1) > 0) hear();
  }
  FilesHead h{};
  if (!read_as(h, data, bytes)) return;
  for (std::uint32_t i = 0; i < h.head.id && bytes >= sizeof h + (i + 1) * sizeof(FileEntry); ++i) {
    FileEntry e{};
    std::memcpy(&e, data + sizeof h + i * sizeof e, sizeof e);
    std::uint64_t size = 0;
    const Head here{Msg::FileHere, 0, e.id};
    if (files_.find(e.id, size) >= 0) send(Stream::Urgent, {{&here, sizeof here}});
  }
}

/// Puts the file's copy in the place of a mapping that has just been made.  `end`: from there on the file has
/// no pages.  False: no memory.
bool Remote::map_file(const MapEntry& e, std::uint64_t& end) {
  std::uint64_t size = 0;
  const int fd = files_.find(e.file, size);
  if (fd < 0 || e.offset % kPageSize != 0 || e.offset >= size) return true;
  const std::uint64_t bytes = std::min(e.end - e.begin, page_up(size - e.offset));
  const auto prot = static_cast<int>(e.prot & (PROT_READ | PROT_WRITE | PROT_EXEC));
  const mem::LockGuard guard(mm_->lock());
  if (::mmap(pointer(e.begin), bytes, prot, MAP_PRIVATE | MAP_FIXED, fd, static_cast<off_t>(e.offset)) ==
      MAP_FAILED)
    return false;
  end = e.begin + bytes;
  return true;
}

void Remote::on_file_pages(const std::byte* data, std::size_t bytes, bool bulk) {
  FilePages p{};
  if (!read_as(p, data, bytes) || p.head.id > kFilePagesPerMessage ||
      bytes < sizeof p + p.head.id * sizeof(FilePage))
    return;
  for (std::uint32_t i = 0; i < p.head.id; ++i) {
    FilePage f{};
    std::memcpy(&f, data + sizeof p + i * sizeof f, sizeof f);
    alignas(64) std::array<std::byte, kPageSize> content{};
    std::uint64_t size = 0;
    const int fd = files_.find(static_cast<std::uint32_t>(std::min<std::uint64_t>(f.file, kMostFiles)), size);
    // Behind the end of the file the last page is zero.
    const std::size_t want = f.offset < size ? std::min<std::uint64_t>(kPageSize, size - f.offset) : 0;
    if (fd < 0 || want == 0 ||
        ::pread(fd, content.data(), want, static_cast<off_t>(f.offset)) != static_cast<ssize_t>(want)) {
      host().say("hpc-vmm remote: home counts on a file that is not here\n");
      ::_exit(1);
    }
    install({page_down(f.page), kPageData, content.data(), 1}, p.sequence, bulk);
  }
  if (bulk) count_bulk(bytes);
}

}  // namespace hpcvmm::migrate
