#include "vmm/names/calls.hh"

#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>

#include "vmm/mem/user_copy.hh"
#include "vmm/names/layouts.hh"

namespace hpcvmm::names {

using wire::names::kContent;

namespace {

class Hold {
 public:
  explicit Hold(std::atomic_flag& flag) : flag_(flag) {
    while (flag_.test_and_set(std::memory_order_acquire)) ::sched_yield();
  }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;
  ~Hold() { flag_.clear(std::memory_order_release); }

 private:
  std::atomic_flag& flag_;
};

/// What holds for the call that this thread is answering.
struct Answering {
  Who who;
  Id here;
  std::uint64_t generation = 0;
  bool fresh = false;
  Layout layout = Layout::Stat;
  std::int64_t result = 0;
};
thread_local Answering t_call;

constexpr std::uint64_t bit(std::uint64_t n) { return std::uint64_t{1} << n; }

/// Reading it now changes no access time.
bool is_readable(std::int64_t until_ns) {
  if (until_ns == INT64_MAX) return true;
  if (until_ns == 0) return false;
  timespec now{};
  ::syscall(SYS_clock_gettime, CLOCK_REALTIME_COARSE, &now);
  return now.tv_sec * 1'000'000'000LL + now.tv_nsec < until_ns;
}

}  // namespace

void Calls::set(const Circumstances& c) {
  const Hold hold(busy_);
  circumstances_ = c;
  circumstances_.path[sizeof circumstances_.path - 1] = 0;
  if ((c.flags & kDescriptors) == 0) return;
  used_ = c.descriptors;
  used_known_ = true;
}

void Calls::require(std::uint64_t epoch) {
  std::uint64_t seen = required_.load(std::memory_order_relaxed);
  while (seen < epoch && !required_.compare_exchange_weak(seen, epoch)) {
  }
}

/// What the store says is what home would say, as far as anybody can tell.
bool Calls::is_fresh() const {
  return (t_call.generation & 1) == 0 && reader_.is_as_new_as(required_.load(std::memory_order_acquire));
}

const Calls::File* Calls::find(int descriptor) const {
  for (const File& f : files_)
    if (f.descriptor == descriptor) return &f;
  return nullptr;
}

bool Calls::path_of(std::uint64_t guest, std::string& out) const {
  std::array<char, PATH_MAX> room{};
  const std::ptrdiff_t n = mem::copy_in_string(room.data(), guest, room.size());
  if (n <= 0 || n >= static_cast<std::ptrdiff_t>(room.size())) return false;
  out.assign(room.data(), static_cast<std::size_t>(n));
  return true;
}

/// hpcd is to ask home, once.
void Calls::miss(const std::string& path) {
  constexpr std::size_t kMostAsked = 512;
  std::string whole = path;
  const Hold hold(busy_);
  if (path[0] != '/') {
    if (circumstances_.path[0] != '/') return;
    whole = std::string(circumstances_.path) + "/" + path;
  }
  if (whole.size() >= wire::local::kMaxFilePath || whole.starts_with("/proc/") ||
      whole.starts_with("/dev/") || whole.starts_with("/sys/"))
    return;
  const std::size_t hash = std::hash<std::string>()(whole);
  if (std::find(asked_.begin(), asked_.end(), hash) != asked_.end()) return;
  if (asked_.size() >= kMostAsked) asked_.clear();
  asked_.push_back(hash);
  ask_(whole);
}

Found Calls::look(std::uint64_t path, int folder, bool follow, std::string& text) {
  Found found;
  found.error = kUnknown;
  if (!path_of(path, text) || (text[0] != '/' && folder != AT_FDCWD)) return found;
  const Who who = t_call.who;
  found = reader_.look(text, t_call.here, follow, who);
  if (found.error == kUnknown && !found.refused) miss(text);
  if (t_call.fresh || found.error == kUnknown) return found;
  // Known, but perhaps not any more; home may have given up telling while nobody was here.
  if (!poked_.exchange(true)) miss(text);
  found.error = kUnknown;
  return found;
}

/// What was read was there all the time.  Then this is the call's result.
bool Calls::done(std::int64_t result) const {
  if (reader_.generation() != t_call.generation) return false;
  t_call.result = result;
  return true;
}

bool Calls::is_valid(const File& f) const {
  return reader_.generation() == f.generation && f.record->alive.load(std::memory_order_acquire) != 0;
}

/// False: nothing may be looked up.
bool Calls::begin_call() {
  const Hold hold(busy_);
  if ((circumstances_.flags & kUsable) == 0) return false;
  t_call.who = {circumstances_.user, (circumstances_.flags & kPowerful) != 0};
  t_call.here = circumstances_.here;
  t_call.generation = reader_.generation();
  t_call.fresh = is_fresh();
  return true;
}

bool Calls::answer(const Asked& a, std::int64_t& result, bool alone) {
  if (!reader_.there() || a.number == Asked::kOther || !begin_call()) return false;
  t_call.layout = a.layout;
  if (!answer_now(a, alone)) return false;
  result = t_call.result;
  return true;
}

// NOLINTNEXTLINE(readability-function-size): one case a call
bool Calls::answer_now(const Asked& a, bool alone) {
  switch (a.number) {
    case SYS_readlink: return readlink(AT_FDCWD, a[0], a[1], a[2]);
    case SYS_readlinkat: return readlink(a.fd(0), a[1], a[2], a[3]);
    case SYS_access: return access(AT_FDCWD, a[0], a[1]);
    case SYS_faccessat: return access(a.fd(0), a[1], a[2]);
    case SYS_faccessat2: return a.fd(3) == 0 && access(a.fd(0), a[1], a[2]);
    case SYS_stat: return status(AT_FDCWD, a[0], a[1], true);
    case SYS_lstat: return status(AT_FDCWD, a[0], a[1], false);
    case SYS_open: return open_file(a, AT_FDCWD, a[0], a[1], alone);
    case SYS_openat: return open_file(a, a.fd(0), a[1], a[2], alone);
    case SYS_newfstatat: return status_at(a, a.fd(3), a[2], alone);
    case SYS_statx:
      // Told are the fields that everybody asks for, as they are for who asks for those alone.
      t_call.layout = Layout::Statx;
      return static_cast<std::uint32_t>(a[3]) == STATX_BASIC_STATS && status_at(a, a.fd(2), a[4], alone);
    case SYS_close: return alone && close(a.fd(0));
    default: break;
  }
  if (!alone || files_.empty() || !t_call.fresh) return false;
  File* const f = find(a.fd(0));
  if (f == nullptr || !is_valid(*f)) return false;
  switch (a.number) {
    case SYS_read: return read(*f, a[1], a[2], f->position, true);
    case SYS_pread64: return static_cast<std::int64_t>(a[3]) >= 0 && read(*f, a[1], a[2], a[3], false);
    case SYS_lseek: return seek(*f, a);
    case SYS_fstat: return put_status(f->record, a[1]);
    case SYS_ioctl: return static_cast<std::uint32_t>(a[1]) == TCGETS && done(-ENOTTY);
    case SYS_fcntl:
      if (a.fd(1) == F_GETFD) return done((f->flags & O_CLOEXEC) != 0 ? FD_CLOEXEC : 0);
      if (a.fd(1) != F_SETFD) return false;
      f->flags = (f->flags & ~O_CLOEXEC) | ((a[2] & FD_CLOEXEC) != 0 ? O_CLOEXEC : 0);
      return done(0);
    default: return false;
  }
}

bool Calls::readlink(int folder, std::uint64_t path, std::uint64_t to, std::uint64_t bytes) {
  std::string text;
  const Found f = look(path, folder, false, text);
  const auto room = static_cast<std::int32_t>(bytes);
  if (f.error == kUnknown || room <= 0) return false;
  if (f.error != 0) return done(-f.error);
  if (f.kind != Kind::Link) return done(-EINVAL);
  if (f.text.empty() || !is_readable(f.until_ns)) return false;
  std::array<char, wire::names::kMostLinkText> copy{};
  const std::size_t n = std::min({f.text.size(), copy.size(), static_cast<std::size_t>(room)});
  std::memcpy(copy.data(), f.text.data(), n);
  if (reader_.generation() != t_call.generation || !mem::copy_out(to, copy.data(), n)) return false;
  return done(static_cast<std::int64_t>(n));
}

bool Calls::access(int folder, std::uint64_t path, std::uint64_t mode) {
  std::string text;
  const Found f = look(path, folder, true, text);
  const auto wanted = static_cast<std::uint32_t>(mode);
  if (f.error == kUnknown || (wanted & ~7U) != 0) return false;
  if (f.error != 0) return done(-f.error);
  if (wanted == F_OK) return done(0);
  // Writing depends on more than the mode; running a file, for root, as well.
  const Record* const node = reader_.node(f.id);
  if (node == nullptr && !reader_.is_refused(f.id)) miss(text);
  if (node == nullptr || (wanted & W_OK) != 0) return false;
  const struct stat& s = Reader::facts(*node).status;
  Who who = t_call.who;
  if (who.powerful && (wanted & X_OK) != 0 && !S_ISDIR(s.st_mode)) who.powerful = false;
  return Reader::may(who, s.st_uid, s.st_mode, wanted) && done(0);
}

bool Calls::status(int folder, std::uint64_t path, std::uint64_t to, bool follow) {
  std::string text;
  const Found f = look(path, folder, follow, text);
  if (f.error == kUnknown) return false;
  if (f.error != 0) return done(-f.error);
  if (f.kind == Kind::Link) return false;
  const Record* const node = reader_.node(f.id);
  if (node == nullptr) {
    if (!reader_.is_refused(f.id)) miss(text);
    return false;
  }
  return put_status(node, to);
}

/// The status of what words 0 and 1 name.
bool Calls::status_at(const Asked& a, int flags, std::uint64_t to, bool alone) {
  if ((flags & AT_EMPTY_PATH) != 0) {
    std::array<char, 1> none{};
    const File* const f = alone ? find(a.fd(0)) : nullptr;
    return f != nullptr && t_call.fresh && is_valid(*f) &&
           (flags & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT)) == 0 &&
           mem::copy_in_string(none.data(), a[1], 1) == 0 && put_status(f->record, to);
  }
  if ((flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT)) != 0) return false;
  return status(a.fd(0), a[1], to, (flags & AT_SYMLINK_NOFOLLOW) == 0);
}

bool Calls::put_status(const Record* node, std::uint64_t to) {
  const NodeFacts facts = Reader::facts(*node);
  if (!is_readable(facts.until_ns) || reader_.generation() != t_call.generation) return false;
  const Written written = write_status(facts, t_call.layout, to);
  return written != Written::Unknown && done(written == Written::TooLarge ? -EOVERFLOW : 0);
}

// NOLINTNEXTLINE(readability-function-size): one condition after the other
bool Calls::open_file(const Asked& a, int folder, std::uint64_t path, std::uint64_t flags, bool alone) {
  constexpr int kLargeFile = 0100000;  // O_LARGEFILE is 0 for 64-bit programs
  constexpr int kPlain = O_CLOEXEC | O_NOCTTY | O_LARGEFILE | kLargeFile;
  const auto how = static_cast<int>(flags);
  if ((how & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))) != 0) return false;
  std::string text;
  const Found f = look(path, folder, (how & O_NOFOLLOW) == 0, text);
  if (f.error == kUnknown) return false;
  if (f.error != 0) return done(-f.error);
  if (f.kind != Kind::File || (how & O_ACCMODE) != O_RDONLY || (how & ~kPlain) != 0) return false;
  const Record* const node = reader_.node(f.id);
  if (node == nullptr) {
    if (!reader_.is_refused(f.id)) miss(text);
    return false;
  }
  if ((node->flags & kContent) == 0 || !alone || !used_known_ || ~used_ == 0) return false;
  const NodeFacts& facts = Reader::facts(*node);
  const Who who = t_call.who;
  const bool small = a.is_small && (how & kLargeFile) == 0;
  if (small && facts.status.st_size > INT32_MAX) return false;
  if (!is_readable(facts.until_ns) || !Reader::may(who, facts.status.st_uid, facts.status.st_mode, 4))
    return false;
  const int descriptor = __builtin_ctzll(~used_);
  if (!done(descriptor)) return false;
  const Hold hold(busy_);
  used_ |= bit(static_cast<unsigned>(descriptor));
  files_.push_back({descriptor, how, small, 0, f.id, t_call.generation, node, std::move(text)});
  return true;
}

bool Calls::read(File& f, std::uint64_t to, std::uint64_t bytes, std::uint64_t at, bool moves) {
  constexpr std::uint64_t kMostAtOnce = 256U << 10;
  const NodeFacts& facts = Reader::facts(*f.record);
  const std::uint64_t content = facts.content_bytes;
  const auto size = static_cast<std::uint64_t>(facts.status.st_size);
  if (bytes > INT32_MAX || size < content) return false;
  const std::uint64_t n = at >= size ? 0 : std::min(bytes, size - at);
  if (n != 0 && (at + n > content || n > kMostAtOnce)) return false;
  // By way of a copy: the store may be wiped while it is read, and the guest must not see that.
  std::vector<std::byte> copy(n);
  if (n != 0) std::memcpy(copy.data(), Reader::content(*f.record) + at, n);
  if (reader_.generation() != t_call.generation) return false;
  if (n != 0 && !mem::copy_out(to, copy.data(), n)) return false;
  if (moves) f.position += n;
  return done(static_cast<std::int64_t>(n));
}

bool Calls::seek(File& f, const Asked& a) {
  const auto by = static_cast<std::int64_t>(a[1]);
  const std::uint64_t whence = a[2];
  std::int64_t from = 0;
  if (whence == SEEK_CUR)
    from = static_cast<std::int64_t>(f.position);
  else if (whence == SEEK_END)
    from = Reader::facts(*f.record).status.st_size;
  else if (whence != SEEK_SET)
    return false;
  constexpr std::int64_t kFar = std::int64_t{1} << 40;
  if (by < -kFar || by > kFar || from + by < 0) return false;
  const std::int64_t position = from + by;
  if (a.seeks_far && !mem::put(a[3], position)) return false;
  if (!done(a.seeks_far ? 0 : position)) return false;
  f.position = static_cast<std::uint64_t>(position);
  return true;
}

bool Calls::close(int descriptor) {
  const File* const f = find(descriptor);
  if (f == nullptr || !done(0)) return false;
  const Hold hold(busy_);
  used_ &= ~bit(static_cast<unsigned>(descriptor));
  files_.erase(files_.begin() + (f - files_.data()));
  return true;
}

// --- what home has to know

/// Whether the call leaves the table of descriptors alone; the one it uses, -1: none.
// NOLINTNEXTLINE(readability-function-size): a list
bool Calls::keeps_descriptors(const Asked& a, std::int64_t& descriptor) {
  descriptor = -1;
  switch (a.number) {
    case SYS_brk:
    case SYS_munmap:
    case SYS_mprotect:
    case SYS_madvise:
    case SYS_mremap:
    case SYS_rt_sigaction:
    case SYS_rt_sigprocmask:
    case SYS_getrusage:
    case SYS_times:
    case SYS_sysinfo:
    case SYS_uname:
    case SYS_access:
    case SYS_readlink:
    case SYS_stat:
    case SYS_lstat:
    case SYS_getcwd:
    case SYS_unlink:
    case SYS_rename:
    case SYS_mkdir:
    case SYS_rmdir:
    case SYS_chmod:
    case SYS_umask:
    case SYS_set_robust_list:
    case SYS_set_tid_address:
    case SYS_arch_prctl:
    case SYS_set_thread_area:
    case SYS_getrlimit:
    case SYS_rseq:
    case SYS_getuid:
    case SYS_geteuid:
    case SYS_getgid:
    case SYS_getegid:
    case SYS_getppid:
    case SYS_exit:
    case SYS_exit_group: return true;
    case SYS_prlimit64: return a[2] == 0;
    case SYS_mmap:
      if ((a[3] & MAP_ANONYMOUS) == 0) descriptor = a.fd(4);
      return true;
    case SYS_faccessat:
    case SYS_readlinkat:
    case SYS_newfstatat:
    case SYS_statx:
    case SYS_unlinkat:
    case SYS_read:
    case SYS_write:
    case SYS_readv:
    case SYS_writev:
    case SYS_pread64:
    case SYS_pwrite64:
    case SYS_lseek:
    case SYS_fstat:
    case SYS_ftruncate:
    case SYS_fsync:
    case SYS_getdents64: descriptor = a.fd(0); return true;
    case SYS_fcntl:
      descriptor = a.fd(0);
      return a.fd(1) == F_GETFD || a.fd(1) == F_SETFD || a.fd(1) == F_GETFL || a.fd(1) == F_SETFL;
    default: return false;
  }
}

bool Calls::before_leaving(const Asked* asked, const GuestRegs& regs) {
  if (!reader_.there()) return false;
  const bool call = asked != nullptr;
  // What is not known may do anything.
  const bool known = call && asked->number != Asked::kOther;
  std::int64_t descriptor = -1;
  bool keeps = known && keeps_descriptors(*asked, descriptor);
  bool wants = false;
  last_ = Last::Nothing;
  {
    const Hold hold(busy_);
    for (const File& f : files_) keeps = keeps && is_valid(f) && f.descriptor != descriptor;
    if (call && !keeps) {
      const bool opens = known && (asked->number == SYS_open || asked->number == SYS_openat);
      // A call that uses a file of ours, and nothing else.
      const bool neutral = known && keeps_descriptors(*asked, descriptor);
      last_ = neutral                               ? Last::Nothing
              : opens                               ? Last::Open
              : known && asked->number == SYS_close ? Last::Close
                                                    : Last::Other;
      last_descriptor_ = asked->fd(0);
      last_rip_ = regs.rip;
      last_rsp_ = regs.rsp;
      wants = opens && !used_known_ && circumstances_.flags != 0;
      if (last_ == Last::Close && files_.empty()) keeps = true;
    }
    if (!call && files_.empty()) keeps = true;
  }
  if (!keeps) flush();
  return wants;
}

void Calls::returned(const GuestRegs& regs) {
  const Hold hold(busy_);
  const Last last = last_;
  last_ = Last::Nothing;
  if (last == Last::Nothing) return;
  const auto result = static_cast<std::int64_t>(regs.rax);
  const bool plain = regs.rip == last_rip_ && regs.rsp == last_rsp_;  // no signal's frame lies in between
  if (plain && last == Last::Close) {
    if (result == 0 && last_descriptor_ >= 0 && last_descriptor_ < static_cast<int>(kMostDescriptors))
      used_ &= ~bit(static_cast<std::uint64_t>(last_descriptor_));
    return;
  }
  if (plain && last == Last::Open) {
    if (result >= 0 && result < static_cast<int>(kMostDescriptors))
      used_ |= bit(static_cast<std::uint64_t>(result));
    return;
  }
  used_known_ = false;
}

void Calls::flush() {
  std::vector<std::byte> out;
  std::uint32_t count = 0;
  {
    const Hold hold(busy_);
    for (const File& f : files_) {
      Reopen r;
      r.descriptor = f.descriptor;
      r.flags = static_cast<std::uint32_t>(f.flags);
      r.small = f.small ? 1 : 0;
      r.position = f.position;
      r.id = f.id;
      r.path_bytes = static_cast<std::uint32_t>(f.path.size());
      const std::size_t at = out.size();
      out.resize(at + sizeof r + f.path.size());
      std::memcpy(out.data() + at, &r, sizeof r);
      std::memcpy(out.data() + at + sizeof r, f.path.data(), f.path.size());
      ++count;
    }
    files_.clear();
  }
  if (count != 0) tell_(out, count);
}

}  // namespace hpcvmm::names
