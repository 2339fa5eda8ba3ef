#include "daemon/names/source.hh"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <new>
#include <utility>

namespace hpcvmm::daemon::names {

using wire::names::HomePage;

namespace {

constexpr std::size_t kMostJobs = 512;
constexpr std::size_t kMostRetired = 512;
/// A batch stays well below what the transport takes.
constexpr std::size_t kMostBatch = 160U << 10;

constexpr std::uint32_t kFolderEvents =
    IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF;
// IN_OPEN: somebody may write through a mapping, which is told only when the file is closed.
constexpr std::uint32_t kFileEvents =
    IN_MODIFY | IN_ATTRIB | IN_OPEN | IN_CLOSE_WRITE | IN_DELETE_SELF | IN_MOVE_SELF;

std::string key_of(const Source::Reader& r, const std::string& path) {
  return std::to_string(r.node) + ' ' + std::to_string(r.user) + path;
}

}  // namespace

Source::~Source() {
  {
    const std::lock_guard guard(lock_);
    ending_ = true;
  }
  more_.notify_all();
  if (thread_.joinable()) thread_.join();
  if (page_ != nullptr) ::munmap(page_, sizeof(HomePage));
}

Status Source::open() {
  ::signal(SIGIO, SIG_IGN);  // a lease that is broken while has_writer() holds it
  UniqueFd page(::memfd_create("hpc-vmm-names", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!page || ::ftruncate(page.get(), sizeof(HomePage)) != 0)
    return Error::last("memory for the page of names");
  void* const at = ::mmap(nullptr, sizeof(HomePage), PROT_READ | PROT_WRITE, MAP_SHARED, page.get(), 0);
  if (at == MAP_FAILED) return Error::last("mmap of the page of names");
  page_ = new (at) HomePage;
  page_->begun = 1;                         // 0 says that names may not be used
  constexpr int kSealFutureWrite = 0x0010;  // F_SEAL_FUTURE_WRITE, Linux 5.1
  if (::fcntl(page.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | kSealFutureWrite) != 0)
    return Error::last("seal of the page of names");
  struct stat s {};
  if (::stat("/", &s) != 0) return Error::last("stat of /");
  page_->root = {s.st_dev, s.st_ino};
  if (::stat("/proc/self/ns/mnt", &s) != 0) return Error::last("stat of the mount namespace");
  page_->mount_namespace = s.st_ino;
  shown_ = UniqueFd(::fcntl(page.get(), F_DUPFD_CLOEXEC, 16));
  page_fd_ = std::move(page);
  inotify_ = UniqueFd(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  news_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!shown_ || !inotify_ || !news_) return Error::last("descriptors of names");
  return Unit{};
}

Result<UniqueFd> Source::make_bell() const {
  UniqueFd bell(::epoll_create1(EPOLL_CLOEXEC));
  if (!bell) return Error::last("epoll_create1");
  epoll_event e{};
  e.events = EPOLLIN;
  if (::epoll_ctl(bell.get(), EPOLL_CTL_ADD, inotify_.get(), &e) != 0) return Error::last("epoll_ctl");
  return bell;
}

void Source::want(const Reader& reader, const std::string& path) {
  ++counters_.asked;
  const std::lock_guard guard(lock_);
  if (jobs_.size() >= kMostJobs || !queued_.insert(key_of(reader, path)).second) return;
  jobs_.push_back({reader, path});
  if (!thread_.joinable()) {
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] { work(); });
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  more_.notify_one();
}

bool Source::Open::is_of(std::uint32_t user) const {
  return fd && std::find(users.begin(), users.end(), user) != users.end();
}

int Source::file_of(const Id& id, std::uint32_t user) {
  const std::lock_guard guard(lock_);
  if (const auto old = retired_.find(id); old != retired_.end() && old->second.is_of(user))
    return old->second.fd.get();
  for (const auto& [wd, w] : watched_)
    if (w.id == id && w.file.is_of(user)) return w.file.fd.get();
  return -1;
}

// --- changes

/// The numbers: whoever finds nothing to be read waits for facts that rest on the last reading, whoever does
/// waits for one more; hence one that finds nothing always follows one that found something.
void Source::read_changes() {
  alignas(inotify_event) std::array<char, 65536> room{};
  for (bool more = true; more;) {
    page_->begun.fetch_add(1, std::memory_order_seq_cst);
    more = false;
    for (;;) {
      const ssize_t n = ::read(inotify_.get(), room.data(), room.size());
      if (n <= 0) break;
      more = true;
      for (std::size_t at = 0; at < static_cast<std::size_t>(n);) {
        const auto* const e = reinterpret_cast<const inotify_event*>(room.data() + at);
        on_event(e);
        at += sizeof *e + e->len;
      }
    }
  }
  flush();
}

void Source::on_event(const void* event) {
  const auto& e = *static_cast<const inotify_event*>(event);
  if ((e.mask & IN_Q_OVERFLOW) != 0) return forget_all();
  const std::lock_guard guard(lock_);
  const auto found = watched_.find(e.wd);
  if (found == watched_.end()) return;
  Watched& w = found->second;
  if (e.mask == IN_OPEN && !(w.file.fd && Look::has_writer(w.file.fd.get()))) return;
  changed(w, e.mask, e.len != 0 ? std::string_view(e.name) : std::string_view());
  if ((e.mask & (IN_IGNORED | IN_UNMOUNT)) == 0) return;
  retire(w);
  watched_.erase(found);
}

/// Under the lock.
void Source::changed(Watched& w, std::uint32_t mask, std::string_view name) {
  if (w.folder && (mask & IN_ATTRIB) != 0 && !name.empty()) return;  // its own watch tells that
  ++w.version;
  take_back(Fact::NoNode, w.id);
  if (w.folder && !name.empty()) return take_back(Fact::NoEntry, w.id, name);
  if (w.folder) return take_back(Fact::NoFolder, w.id);
  retire(w);
}

/// Somebody may have it open on another node, and home will have to open the same inode.  Under the lock.
void Source::retire(Watched& w) {
  if (!w.file.fd) return;
  if (retired_order_.size() >= kMostRetired) close_oldest();
  const auto [at, fresh] = retired_.try_emplace(w.id);
  if (fresh)
    retired_order_.emplace_back(now_ms_, w.id);
  else
    close_later(std::move(at->second.fd));
  at->second = std::exchange(w.file, {});
}

/// Under the lock.
void Source::close_oldest() {
  if (const auto old = retired_.find(retired_order_.front().second); old != retired_.end()) {
    close_later(std::move(old->second.fd));
    retired_.erase(old);
  }
  retired_order_.pop_front();
}

/// The last close of a file whose name is gone frees its blocks, and may wait for the disk: the thread does
/// it.  Under the lock.
void Source::close_later(UniqueFd fd) {
  if (!fd) return;
  to_close_.push_back(std::move(fd));
  more_.notify_one();
}

void Source::tick(std::uint64_t now_ms, bool in_use) {
  constexpr std::uint64_t kRetiredMs = 30'000;
  constexpr std::uint64_t kUnusedMs = 60'000;
  now_ms_ = now_ms;
  if (in_use) used_ms_ = now_ms;
  bool idle = false;
  {
    const std::lock_guard guard(lock_);
    while (!retired_order_.empty() && now_ms - retired_order_.front().first > kRetiredMs) close_oldest();
    idle = now_ms - used_ms_ > kUnusedMs && !watched_.empty();
  }
  if (!idle) return;
  // An open file keeps its file system from being unmounted.
  subscribers_.clear();
  forget_all();
  read_changes();
  // Nobody has been away for so long: nobody has one of these open there.
  const std::lock_guard guard(lock_);
  while (!retired_order_.empty()) close_oldest();
}

void Source::take_back(Fact fact, const Id& id, std::string_view name) {
  FactHead h;
  h.fact = fact;
  h.id = id;
  for (auto& [reader, s] : subscribers_) {
    if (fact == Fact::NoNode ? s.nodes.erase(id) == 0 : !s.folders.contains(id)) continue;
    if (fact == Fact::NoFolder) s.folders.erase(id);
    put_fact(pending_[reader], h, name);
    ++counters_.taken_back;
  }
}

void Source::forget_all() {
  pending_.clear();
  // The next batch is the first one again: it makes them forget.
  for (auto& [reader, s] : subscribers_) s = {};
  const std::lock_guard guard(lock_);
  ++forgotten_;
  for (auto& [wd, w] : watched_) {
    ++w.version;
    ::inotify_rm_watch(inotify_.get(), wd);
  }
}

void Source::flush() {
  const std::uint64_t epoch = page_->begun.load(std::memory_order_relaxed);
  for (auto it = subscribers_.begin(); it != subscribers_.end();) {
    auto& [reader, s] = *it++;
    if (s.epoch == epoch) continue;
    Bytes facts;
    if (const auto found = pending_.find(reader); found != pending_.end()) facts = std::move(found->second);
    tell(Reader(reader), s, facts);
  }
  pending_.clear();
}

/// May end the subscription.
void Source::tell(const Reader& reader, Subscriber& s, const Bytes& facts) {
  Batch batch;
  batch.sequence = ++s.sequence;
  s.epoch = batch.epoch = page_->begun.load(std::memory_order_relaxed);
  Bytes message;
  message.reserve(sizeof batch + facts.size());
  put(message, &batch, sizeof batch);
  if (batch.sequence == 1) {
    FactHead root;
    root.fact = Fact::Root;
    root.id = page_->root;
    put_fact(message, root);
  }
  put(message, facts.data(), facts.size());
  if (!send_(reader, message)) drop(reader);
}

// --- facts

void Source::collect() {
  std::uint64_t count = 0;
  static_cast<void>(0 > ::read(news_.get(), &count, sizeof count));
  std::vector<Done> done;
  {
    const std::lock_guard guard(lock_);
    done.swap(done_);
  }
  if (done.empty()) return;
  bool full = false;
  {
    const std::lock_guard guard(lock_);
    full = watched_.size() >= most_watched_;
  }
  if (full) forget_all();
  // What has happened since they were found is known before they are told.
  read_changes();
  for (Done& d : done) {
    Subscriber& s = subscribers_[d.reader];
    Bytes facts;
    const auto pass = [&] {
      if (!facts.empty()) tell(d.reader, s, facts);
      facts.clear();
      return subscribers_.contains(d.reader);
    };
    bool there = true;
    for (Learnt& l : d.facts) {
      if (l.watch >= 0) {
        const std::lock_guard guard(lock_);
        const auto w = watched_.find(l.watch);
        if (w == watched_.end() || !(w->second.id == l.id) || w->second.version != l.version) continue;
        Open& file = w->second.file;
        if (l.file && !file.fd) file.fd = std::move(l.file);
        if (file.fd && l.fact == Fact::Node && !file.is_of(d.reader.user))
          file.users.push_back(d.reader.user);
      }
      if (l.fact == Fact::Folder && l.watch >= 0) {
        if (const auto told = s.folders.find(l.id); told != s.folders.end()) continue;
        s.folders[l.id] = l.version;
      }
      if (l.fact == Fact::Node && l.watch >= 0 && !s.nodes.insert(l.id).second) continue;
      if (facts.size() + l.bytes.size() > kMostBatch && !(there = pass())) break;
      put(facts, l.bytes.data(), l.bytes.size());
      ++counters_.told;
    }
    if (there) pass();
  }
  const std::lock_guard guard(lock_);
  for (Done& d : done)
    for (Learnt& l : d.facts) close_later(std::move(l.file));
}

void Source::settle() {
  {
    std::unique_lock guard(lock_);
    idle_.wait(guard, [this] { return jobs_.empty() && !busy_; });
  }
  collect();
}

// --- the thread

/// The loop never waits for the kernel to make a watch: it may be another's turn on this CPU meanwhile.  What
/// happens before the watch is in the table is in what is looked at afterwards; only that it has been
/// forgotten must not be missed.
int Source::watch(int fd, const Id& id, bool folder, std::uint64_t& version) {
  std::uint64_t forgotten = 0;
  {
    const std::lock_guard guard(lock_);
    if (watched_.size() >= most_watched_) return -1;
    forgotten = forgotten_;
  }
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  const int wd = ::inotify_add_watch(inotify_.get(), path.c_str(), folder ? kFolderEvents : kFileEvents);
  if (wd < 0) return -1;
  const std::lock_guard guard(lock_);
  if (forgotten != forgotten_) {
    ::inotify_rm_watch(inotify_.get(), wd);
    return -1;
  }
  Watched& w = watched_[wd];
  w.id = id;
  w.folder = folder;
  version = w.version;
  return wd;
}

void Source::work() {
  ::pthread_setname_np(::pthread_self(), "names");
  // It keeps the precedence that it has inherited (take_precedence() in system.hh): the loop waits for its
  // lock.
  for (;;) {
    Job job;
    std::vector<UniqueFd> to_close;
    {
      std::unique_lock guard(lock_);
      busy_ = false;
      if (jobs_.empty()) idle_.notify_all();
      more_.wait(guard, [this] { return ending_ || !jobs_.empty() || !to_close_.empty(); });
      if (ending_) return;
      to_close.swap(to_close_);
      if (jobs_.empty()) continue;
      job = std::move(jobs_.front());
      jobs_.pop_front();
      busy_ = true;
    }
    Done done;
    done.reader = job.reader;
    look_.walk(job.reader.user, job.path, done.facts);
    const std::lock_guard guard(lock_);
    queued_.erase(key_of(job.reader, job.path));
    if (done.facts.empty()) continue;
    done_.push_back(std::move(done));
    const std::uint64_t one = 1;
    static_cast<void>(0 > ::write(news_.get(), &one, sizeof one));
  }
}

}  // namespace hpcvmm::daemon::names
