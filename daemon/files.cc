#include "daemon/files.hh"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sodium.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

namespace hpcvmm::daemon {

namespace local = wire::local;
using wire::files::FileId;

namespace {

constexpr std::size_t kMostJobs = 1024;
constexpr std::size_t kMostBefore = 8192;
constexpr std::size_t kStep = std::size_t{256} << 10;

std::int64_t in_ns(const timespec& t) { return t.tv_sec * 1'000'000'000LL + t.tv_nsec; }

FileId id_of(const struct stat& s) {
  return {s.st_dev, s.st_ino, static_cast<std::uint64_t>(s.st_size), in_ns(s.st_mtim), in_ns(s.st_ctim)};
}

/// Nobody but root can write it, and everybody may read it.
bool is_public(const struct stat& s) {
  return S_ISREG(s.st_mode) && s.st_uid == 0 && (s.st_mode & S_IROTH) != 0 && (s.st_mode & 022) == 0;
}

int make_memory(const char* name) {
  const int fd = ::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
  // Before Linux 6.3 every memfd may be executed.
  return fd >= 0 ? fd : ::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
}

bool write_all(int fd, const std::byte* data, std::size_t bytes) {
  while (bytes != 0) {
    const ssize_t n = ::write(fd, data, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    data += n;
    bytes -= static_cast<std::size_t>(n);
  }
  return true;
}

/// Reads the whole file: its digest, and with `copy` >= 0 the content into that.
bool read_whole(int fd, std::uint64_t size, int copy, wire::files::Digest& out) {
  static thread_local std::vector<std::byte> buffer(kStep);
  crypto_generichash_state state;
  crypto_generichash_init(&state, nullptr, 0, out.size());
  for (std::uint64_t done = 0; done < size;) {
    const ssize_t n = ::read(fd, buffer.data(), std::min<std::uint64_t>(kStep, size - done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    const auto bytes = static_cast<std::size_t>(n);
    crypto_generichash_update(&state, reinterpret_cast<const unsigned char*>(buffer.data()), bytes);
    if (copy >= 0 && !write_all(copy, buffer.data(), bytes)) return false;
    done += bytes;
  }
  return crypto_generichash_final(&state, out.data(), out.size()) == 0;
}

}  // namespace

Files::~Files() {
  {
    const std::lock_guard guard(lock_);
    ending_ = true;
  }
  more_.notify_all();
  if (thread_.joinable()) thread_.join();
  if (table_ != nullptr) ::munmap(table_, sizeof *table_);
}

Status Files::open() {
  if (sodium_init() < 0) return Error::of(ENOTSUP, "sodium_init");
  ::signal(SIGIO, SIG_IGN);
  table_fd_ = UniqueFd(make_memory("hpc-vmm-files"));
  if (!table_fd_ || ::ftruncate(table_fd_.get(), sizeof(wire::files::Table)) != 0)
    return Error::last("memory for the table of files");
  void* const at =
      ::mmap(nullptr, sizeof(wire::files::Table), PROT_READ | PROT_WRITE, MAP_SHARED, table_fd_.get(), 0);
  if (at == MAP_FAILED) return Error::last("mmap of the table of files");
  table_ = new (at) wire::files::Table;
  // From here on only this mapping can write; whoever gets the descriptor can not.
  constexpr int kSealFutureWrite = 0x0010;  // F_SEAL_FUTURE_WRITE, Linux 5.1
  if (::fcntl(table_fd_.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | kSealFutureWrite) != 0)
    return Error::last("seal of the table of files");
  shown_ = UniqueFd(::fcntl(table_fd_.get(), F_DUPFD_CLOEXEC, 16));
  news_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!shown_ || !news_) return Error::last("descriptors of the table of files");
  return Unit{};
}

void Files::enqueue(Job job) {
  const std::lock_guard guard(lock_);
  if (jobs_.size() >= kMostJobs || !queued_.insert((job.copy ? "c" : "h") + job.path).second) return;
  jobs_.push_back(std::move(job));
  if (!thread_.joinable()) {
    // Signals are for the other thread.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] { work(); });
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  more_.notify_one();
}

void Files::seen(const local::FileSeen& m) { enqueue({m.path, false, {}}); }

Files::Found Files::ask(const local::FileAsk& m) {
  Digest digest;
  std::copy_n(m.digest, digest.size(), digest.begin());
  const auto found = copies_.find(digest);
  if (found != copies_.end() && found->second.bytes == m.size) {
    found->second.used = ++uses_;
    ++counters_.given;
    return {found->second.fd.get(), 0};
  }
  // A hint, and the copy is there already.
  const bool any = digest == Digest{};
  const auto copied = any ? copied_.find(m.path) : copied_.end();
  if (copied == copied_.end() || !copies_.contains(copied->second)) enqueue({m.path, true, digest});
  return {-1, EAGAIN};
}

void Files::make_room(std::uint64_t bytes) {
  while (!copies_.empty() && copies_bytes_ + bytes > limits_.copies_bytes) {
    const auto oldest = std::min_element(copies_.begin(), copies_.end(), [](const auto& a, const auto& b) {
      return a.second.used < b.second.used;
    });
    // Whoever has it mapped keeps it.
    copies_bytes_ -= oldest->second.bytes;
    copies_.erase(oldest);
  }
}

void Files::collect() {
  std::uint64_t count = 0;
  static_cast<void>(0 > ::read(news_.get(), &count, sizeof count));
  std::vector<Learnt> learnt;
  {
    const std::lock_guard guard(lock_);
    learnt.swap(learnt_);
  }
  for (Learnt& l : learnt) {
    if (l.proved) wire::files::put(*table_, l.file, l.digest);
    if (l.copy) {
      if (copied_.size() >= kMostBefore) copied_.clear();
      copied_[l.job.path] = l.digest;
    }
    if (!l.copy || copies_.contains(l.digest) || l.file.size > limits_.copies_bytes) continue;
    make_room(l.file.size);
    copies_bytes_ += l.file.size;
    copies_.emplace(l.digest, Copy{std::move(l.copy), l.file.size, ++uses_});
  }
  const std::lock_guard guard(lock_);
  for (const Learnt& l : learnt) {
    if (l.job.copy) ++counters_.copied;
    ++(l.proved || l.job.copy ? counters_.hashed : counters_.refused);
  }
}

void Files::settle() {
  {
    std::unique_lock guard(lock_);
    idle_.wait(guard, [this] { return jobs_.empty() && !busy_; });
  }
  collect();
}

// --- the thread

void Files::work() {
  ::pthread_setname_np(::pthread_self(), "files");
  ::setpriority(PRIO_PROCESS, 0, 0);  // nobody waits for it (take_precedence() in system.hh)
  for (;;) {
    Job job;
    {
      std::unique_lock guard(lock_);
      busy_ = false;
      if (jobs_.empty()) idle_.notify_all();
      more_.wait(guard, [this] { return ending_ || !jobs_.empty(); });
      if (ending_) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
      busy_ = true;
    }
    Learnt learnt;
    learnt.job = job;
    const bool news = learn(job, learnt);
    const std::lock_guard guard(lock_);
    queued_.erase((job.copy ? "c" : "h") + job.path);
    if (!news) continue;
    learnt_.push_back(std::move(learnt));
    const std::uint64_t one = 1;
    static_cast<void>(0 > ::write(news_.get(), &one, sizeof one));
  }
}

/// False: there is nothing new to say.
bool Files::learn(const Job& job, Learnt& out) {
  const UniqueFd fd(::open(job.path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  struct stat s {};
  if (!fd || ::fstat(fd.get(), &s) != 0 || !is_public(s) || s.st_size <= 0) return false;
  out.file = id_of(s);
  if (out.file.size > limits_.file_bytes) return false;
  const auto known = before_.find(job.path);
  const bool same = known != before_.end() && known->second.file == out.file;
  if (same && !job.copy && known->second.proved) return false;
  if (same && job.copy && job.wanted != Digest{} && known->second.digest != job.wanted) return false;
  // A lease is granted only while nobody has it open for writing; it is kept until all has been read.
  out.proved = ::fcntl(fd.get(), F_SETLEASE, F_RDLCK) == 0;
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  const std::int64_t changed = std::max(out.file.mtime_ns, out.file.ctime_ns);
  out.proved = out.proved && in_ns(now) - changed >= static_cast<std::int64_t>(limits_.settled_ns);
  if (!out.proved && !job.copy) return false;
  if (job.copy) out.copy = UniqueFd(make_memory("hpc-vmm-file"));
  if (job.copy && !out.copy) return false;
  if (!read_whole(fd.get(), out.file.size, out.copy.get(), out.digest)) return false;
  struct stat after {};
  const bool unchanged = ::fstat(fd.get(), &after) == 0 && id_of(after) == out.file;
  ::fcntl(fd.get(), F_SETLEASE, F_UNLCK);
  out.proved = out.proved && unchanged;
  constexpr int kSeals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  if (job.copy && ::fcntl(out.copy.get(), F_ADD_SEALS, kSeals) != 0) return false;
  if (before_.size() >= kMostBefore) before_.clear();
  before_[job.path] = {out.file, out.digest, out.proved};
  return true;
}

}  // namespace hpcvmm::daemon
