#include "net/driver/dpdk/bell.hh"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <system_error>

namespace hpcvmm::net::dpdk {
namespace {

constexpr std::size_t kPage = 4096;

/// One end's pipe, for reading and writing: so it never shows end-of-file, whoever comes and goes.
Result<UniqueFd> open_pipe(const std::string& path, std::string& why) {
  if (::mkfifo(path.c_str(), 0600) != 0 && errno != EEXIST) {
    why = path + ": cannot be made: " + std::generic_category().message(errno);
    return Error::last("mkfifo");
  }
  UniqueFd pipe(::open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW));
  struct stat status {};
  if (!pipe || ::fstat(pipe.get(), &status) != 0) {
    why = path + ": cannot be opened: " + std::generic_category().message(errno);
    return Error::last("open a doorbell's pipe");
  }
  if (!S_ISFIFO(status.st_mode)) {
    why = path + ": is not a pipe; remove it";
    return Error::of(EEXIST, "open a doorbell's pipe");
  }
  return pipe;
}

/// Locks the byte of this end until the process ends, however it ends.
Status lock_end(int file, unsigned side, const std::string& path, std::string& why) {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(side);
  lock.l_len = 1;
  if (::fcntl(file, F_OFD_SETLK, &lock) == 0) return Unit{};
  if (errno != EAGAIN && errno != EACCES) {
    why = path + ": cannot be locked: " + std::generic_category().message(errno);
    return Error::last("fcntl(F_OFD_SETLK)");
  }
  why = path + ": another process is the " + (side == 0 ? "server" : "client") + " end of this port";
  return Error::of(EADDRINUSE, "lock a port's end");
}

}  // namespace

Result<Bell> Bell::open(const std::string& base, unsigned side, std::uint32_t buffer_bytes,
                        std::string& why) {
  const std::string path = base + ".bell";
  UniqueFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) {
    why = path + ": cannot be opened: " + std::generic_category().message(errno) +
          "; the folder of the socket must exist and be writable";
    return Error::last("open a doorbell");
  }
  HPCVMM_CHECK_OK(lock_end(file.get(), side, path, why));
  // Grows only: the other end may have it mapped.
  if (::ftruncate(file.get(), kPage) != 0) return Error::last("ftruncate a doorbell");
  HPCVMM_TRY(UniqueFd own, open_pipe(path + std::to_string(side), why));
  HPCVMM_TRY(UniqueFd other, open_pipe(path + std::to_string(1 - side), why));
  void* const page = ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (page == MAP_FAILED) return Error::last("mmap a doorbell");
  Bell bell(std::move(file), std::move(own), std::move(other), static_cast<Slot*>(page), side);
  bell.own().wanted.store(0);  // what a predecessor that was killed had announced
  bell.own().buffer_bytes.store(buffer_bytes);
  bell.empty();
  return bell;
}

Bell::Bell(Bell&& other) noexcept
    : file_(std::move(other.file_)),
      own_pipe_(std::move(other.own_pipe_)),
      other_pipe_(std::move(other.other_pipe_)),
      slots_(std::exchange(other.slots_, nullptr)),
      side_(other.side_),
      wanted_(other.wanted_),
      owed_(other.owed_) {}

Bell::~Bell() {
  if (slots_ == nullptr) return;
  own().wanted.store(0);
  ::munmap(slots_, kPage);
}

void Bell::want(std::uint32_t bits) {
  note_rung(bits, own().wanted.fetch_or(bits, std::memory_order_seq_cst));
  wanted_ |= bits;
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

void Bell::unwant(std::uint32_t bits) {
  std::uint32_t there = own().wanted.load(std::memory_order_relaxed);
  if (there != 0) there = own().wanted.fetch_and(~bits);
  note_rung(bits, there);
  wanted_ &= ~bits;
}

/// Who has taken one of `bits` away writes a byte, or is about to.
void Bell::note_rung(std::uint32_t bits, std::uint32_t there) {
  owed_ += static_cast<unsigned>(std::popcount(wanted_ & bits & ~there));
}

void Bell::drain() {
  // Whatever another process does, a byte that nobody owes is found at last.
  constexpr unsigned kAnyway = 64;
  if (owed_ == 0 && ++spared_ % kAnyway != 0) return;
  owed_ -= std::min(owed_, empty());
}

unsigned Bell::empty() {
  std::array<char, 64> sink{};
  std::size_t all = 0;
  for (;;) {
    const ssize_t n = ::read(own_pipe_.get(), sink.data(), sink.size());
    if (n > 0) all += static_cast<std::size_t>(n);
    if (n != static_cast<ssize_t>(sink.size())) return static_cast<unsigned>(all);
  }
}

void Bell::ring(std::uint32_t bits) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if ((other().wanted.load(std::memory_order_relaxed) & bits) == 0) return;
  if ((other().wanted.fetch_and(~bits) & bits) == 0) return;
  const char one = 1;
  // A full pipe is as readable as can be.
  static_cast<void>(::write(other_pipe_.get(), &one, 1) == 1);
}

void Bell::beat() { own().beats.fetch_add(1, std::memory_order_relaxed); }
std::uint32_t Bell::others_buffer() const { return other().buffer_bytes.load(std::memory_order_relaxed); }
std::uint32_t Bell::others_beat() const { return other().beats.load(std::memory_order_relaxed); }

}  // namespace hpcvmm::net::dpdk
