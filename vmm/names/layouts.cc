#include "vmm/names/layouts.hh"

#include <climits>
#include <cstddef>
#include <cstring>

#include "vmm/mem/user_copy.hh"

namespace hpcvmm::names {
namespace {

/// struct stat64 of arch/x86/include/uapi/asm/stat.h, with IA32's alignment.
struct [[gnu::packed]] Stat64 {
  std::uint64_t dev;
  std::uint32_t gap0;
  std::uint32_t ino_low, mode, nlink, uid, gid;
  std::uint64_t rdev;
  std::uint32_t gap3;
  std::int64_t size;
  std::uint32_t blksize;
  std::uint64_t blocks;
  std::uint32_t atime, atime_ns, mtime, mtime_ns, ctime, ctime_ns;
  std::uint64_t ino;
};
static_assert(sizeof(Stat64) == 96 && offsetof(Stat64, size) == 44 && offsetof(Stat64, ino) == 88);

struct Stat32 {
  std::uint32_t dev, ino;
  std::uint16_t mode, nlink, uid, gid;
  std::uint32_t rdev, size, blksize, blocks;
  std::uint32_t atime, atime_ns, mtime, mtime_ns, ctime, ctime_ns;
  std::uint32_t unused[2];
};
static_assert(sizeof(Stat32) == 64);

template <class To> To cut(auto value) { return static_cast<To>(value); }

template <class S> void put_times(S& to, const struct stat& s) {
  to.atime = cut<std::uint32_t>(s.st_atim.tv_sec);
  to.atime_ns = cut<std::uint32_t>(s.st_atim.tv_nsec);
  to.mtime = cut<std::uint32_t>(s.st_mtim.tv_sec);
  to.mtime_ns = cut<std::uint32_t>(s.st_mtim.tv_nsec);
  to.ctime = cut<std::uint32_t>(s.st_ctim.tv_sec);
  to.ctime_ns = cut<std::uint32_t>(s.st_ctim.tv_nsec);
}

Written written(bool good) { return good ? Written::Done : Written::Unknown; }

Written write_stat64(const struct stat& s, std::uint64_t to) {
  Stat64 out{};
  out.dev = s.st_dev;
  out.ino_low = cut<std::uint32_t>(s.st_ino);
  out.mode = s.st_mode;
  out.nlink = cut<std::uint32_t>(s.st_nlink);
  out.uid = s.st_uid;
  out.gid = s.st_gid;
  out.rdev = s.st_rdev;
  out.size = s.st_size;
  out.blksize = cut<std::uint32_t>(s.st_blksize);
  out.blocks = cut<std::uint64_t>(s.st_blocks);
  put_times(out, s);
  out.ino = s.st_ino;
  const auto piece = [&out, to](std::size_t from, std::size_t end) {
    return mem::copy_out(to + from, reinterpret_cast<const char*>(&out) + from, end - from);
  };
  return written(piece(0, offsetof(Stat64, gap0)) &&
                 piece(offsetof(Stat64, ino_low), offsetof(Stat64, gap3)) &&
                 piece(offsetof(Stat64, size), sizeof out));
}

Written write_stat32(const struct stat& s, std::uint64_t to) {
  constexpr std::uint32_t kShort = 0xffff;
  if (s.st_ino > UINT_MAX || s.st_nlink > kShort || s.st_size > INT_MAX) return Written::TooLarge;
  if (s.st_uid > kShort || s.st_gid > kShort) return Written::Unknown;  // home's overflow id
  Stat32 out{};
  out.dev = cut<std::uint32_t>(s.st_dev);
  out.ino = cut<std::uint32_t>(s.st_ino);
  out.mode = cut<std::uint16_t>(s.st_mode);
  out.nlink = cut<std::uint16_t>(s.st_nlink);
  out.uid = cut<std::uint16_t>(s.st_uid);
  out.gid = cut<std::uint16_t>(s.st_gid);
  out.rdev = cut<std::uint32_t>(s.st_rdev);
  out.size = cut<std::uint32_t>(s.st_size);
  out.blksize = cut<std::uint32_t>(s.st_blksize);
  out.blocks = cut<std::uint32_t>(s.st_blocks);
  put_times(out, s);
  return written(mem::put(to, out));
}

}  // namespace

Written write_status(const wire::names::NodeFacts& facts, Layout layout, std::uint64_t to) {
  switch (layout) {
    case Layout::Stat: return written(mem::put(to, facts.status));
    case Layout::Stat64: return write_stat64(facts.status, to);
    case Layout::Stat32: return write_stat32(facts.status, to);
    case Layout::Statx: return written(mem::put(to, facts.wide));
  }
  return Written::Unknown;
}

}  // namespace hpcvmm::names
