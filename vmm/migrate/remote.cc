#include "vmm/migrate/remote.hh"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "hpcvmm/abi/vdso.h"
#include "vmm/engine/direct/direct.hh"
#include "vmm/engine/kvm/machine.hh"
#include "vmm/mem/arena.hh"
#include "vmm/mem/host_maps.hh"
#include "vmm/mem/user_copy.hh"
#include "vmm/migrate/bytes.hh"
#include "vmm/migrate/cpu.hh"
#include "vmm/migrate/home.hh"
#include "vmm/migrate/host.hh"
#include "vmm/migrate/remote_impl.hh"
#include "vmm/migrate/trial.hh"

namespace hpcvmm::migrate {
namespace {

namespace local = wire::local;

void say(const char* format, ...) {
  std::array<char, 512> text{};
  va_list args;
  va_start(args, format);
  const int n = std::vsnprintf(text.data(), text.size(), format, args);
  va_end(args);
  if (n > 0)
    static_cast<void>(
        0 > ::write(2, text.data(), std::min<std::size_t>(text.size() - 1, static_cast<std::size_t>(n))));
}

}  // namespace

// --- serving

namespace {

/// Bulk of before the switch, for mappings that have been made.
bool is_early(const local::Consumer::View& v) {
  Head head{};
  bool warm = read_as(head, v.data, v.bytes) && head.type == Msg::Prepared;
  if (head.type != Msg::Pages) return warm;
  Pages p{};
  std::uint64_t first = 0;
  if (!read_as(p, v.data, v.bytes) || !read_as(first, v.data + sizeof p, v.bytes - sizeof p)) return warm;
  const std::uint64_t flag = first & kPageFlags;
  return flag == kPageWarm || flag == kPageWarmRecent || flag == kPageWarmPassed;
}

}  // namespace

void Remote::hear() {
  alignas(8) std::array<char, local::kMaxMessage> room{};
  int fds[3] = {-1, -1, -1};
  const std::ptrdiff_t n = link_.receive_control(room.data(), fds, 0);
  if (n == 0) ::_exit(0);  // hpcd has gone, or the process at home has
  if (n < 0) return;
  local::Header h{};
  std::memcpy(&h, room.data(), sizeof h);
  if (h.type == local::Type::Closed) ::_exit(0);
  if (h.type == local::Type::FileAnswer) {
    local::FileAnswer a{};
    if (static_cast<std::size_t>(n) < sizeof a) return;
    std::memcpy(&a, room.data(), sizeof a);
    return files_.answered(a, a.code == 0 ? fds[0] : -1);
  }
  if (h.type == local::Type::NamesStore) return take_store(fds[0]);
  if (h.type != local::Type::Attach || link_.attached()) return;
  local::Attach a{};
  if (static_cast<std::size_t>(n) < sizeof a) return;
  std::memcpy(&a, room.data(), sizeof a);
  if (auto ok = link_.attach(a, fds); !ok) {
    say("hpc-vmm remote: %s: errno %d\n", ok.error().op, ok.error().code);
    ::_exit(1);
  }
}

/// What there is to do.  By whoever has the turn.
bool Remote::pass() {
  bool busy = false;
  local::Consumer::View v;
  while (link_.receive(Stream::Urgent, v)) {
    on_record(v, Stream::Urgent);
    link_.pop(Stream::Urgent);
    busy = true;
  }
  // One: somebody may wait for what is urgent.
  if (link_.receive(Stream::Bulk, v) && (mapped_ || is_early(v))) {
    on_record(v, Stream::Bulk);
    link_.pop(Stream::Bulk);
    busy = true;
  }
  Uffd::Fault f;
  while (uffd_.fd() >= 0 && uffd_.next(f)) {
    on_fault(f);
    busy = true;
  }
  return busy;
}

CpuTime Remote::used() {
  const mem::LockGuard guard(runners_lock_);
  CpuTime all;
  for (const auto& [id, runner] : runners_) all = all + runner->used();
  return all;
}

/// Home learns from calls what has been used.  A thread that makes none is looked at now and then, so that
/// its parent knows most of it even when it is killed.
int Remote::patience_ms() {
  constexpr int kWhileItRuns = 100;
  constexpr int kWhileItWaits = 1000;  // its thread may take an order by itself, without a word to this one
  if (!running_) return -1;
  const mem::LockGuard guard(runners_lock_);
  for (const auto& [id, runner] : runners_)
    if (runner->runs()) return kWhileItRuns;
  return kWhileItWaits;
}

void Remote::tell_used() {
  constexpr std::uint64_t kWorthTellingUs = 20'000;
  if (!running_) return;
  UsedSoFar u{};
  u.used = used();
  if (u.used.sum() < told_us_.load(std::memory_order_relaxed) + kWorthTellingUs) return;
  u.cpu_us = process_cpu_us();
  told_of(u.used);
  send(Stream::Urgent, {{&u, sizeof u}});
}

void Remote::serve() {
  answer_soon();
  link_.adopt(3);
  open_pagemap();
  local::Register r{};
  r.role = local::Role::Remote;
  r.pid = ::getpid();
  link_.send_control(&r, sizeof r);
  while (!link_.attached()) {
    pollfd p{link_.control_fd(), POLLIN, 0};
    ::poll(&p, 1, -1);
    hear();
  }
  turn_.lock();
  for (;;) {
    if (pass() || !link_.prepare_sleep()) continue;
    pollfd p[3] = {{link_.wake_fd(), POLLIN, 0}, {link_.control_fd(), POLLIN, 0}, {uffd_.fd(), POLLIN, 0}};
    turn_.unlock();
    ::poll(p, 3, patience_ms());
    turn_.lock();
    link_.woken();
    if (p[1].revents != 0) hear();
    tell_used();
  }
}

void Remote::on_record(const local::Consumer::View& v, Stream stream) {
  Head head{};
  if (v.channel != kChannel || !read_as(head, v.data, v.bytes)) return;
  if (static_cast<std::uint16_t>(head.type) == share::kServeNote && mm_ == nullptr &&
      serve_shared != nullptr) {
    const std::vector<std::byte> order(v.data, v.data + v.bytes);
    link_.pop(stream);
    serve_shared(link_, order.data(), order.size());
  }
  if (stream == Stream::Urgent && put_off(head.type, v)) return;
  handle(v.data, v.bytes, stream);
}

/// A vCPU thread may hold the mm lock while KVM waits for all vCPUs to leave their page faults
/// (KVM_SET_USER_MEMORY_REGION), which only the pager ends.  So the pager leaves to the worker what takes
/// that lock, and whatever must stay behind it in order.
bool Remote::put_off(Msg type, const local::Consumer::View& v) {
  const bool locks = type == Msg::Maps || type == Msg::Drop || type == Msg::Protect || type == Msg::Files;
  const bool ordered = type == Msg::Run || type == Msg::Kick || type == Msg::GetFp || type == Msg::Take ||
                       type == Msg::CallData || type == Msg::Names;
  Head head{};
  std::memcpy(&head, v.data, sizeof head);
  const bool makes_vcpu = (type == Msg::Run || type == Msg::CallData) && runner(head.id) == nullptr;
  if (!running_ || !(locks || ordered)) return false;
  const mem::LockGuard guard(queue_lock_);
  if (!locks && !makes_vcpu && queued_.load() == 0) return false;
  queue_.emplace_back(v.data, v.data + v.bytes);
  queued_.fetch_add(1);
  futex_wake(&queued_);
  return true;
}

void* Remote::worker_main(void* self) {
  static_cast<Remote*>(self)->worker();
  return nullptr;
}

void Remote::worker() {
  answer_soon();
  for (;;) {
    while (queued_.load() == 0) futex_wait(&queued_, 0);
    std::vector<std::byte> message;
    {
      const mem::LockGuard guard(queue_lock_);
      message = std::move(queue_.front());
      queue_.pop_front();
    }
    handle(message.data(), message.size(), Stream::Urgent);
    // Only now: what comes next may go past an empty queue.
    queued_.fetch_sub(1);
  }
}

// NOLINTNEXTLINE(readability-function-size): one case a message
void Remote::handle(const std::byte* data, std::size_t bytes, Stream stream) {
  Head head{};
  if (!read_as(head, data, bytes)) return;
  switch (head.type) {
    case Msg::Init: {
      Init i{};
      if (read_as(i, data, bytes)) on_init(i);
      return;
    }
    case Msg::ShareServer: {
      ShareServer s{};
      if (read_as(s, data, bytes)) {
        s.name[sizeof s.name - 1] = 0;
        on_share_server(s);
      }
      return;
    }
    case Msg::Maps: return on_maps(data, bytes);
    case Msg::Files: return on_files(data, bytes);
    case Msg::Names: return on_names(data, bytes);
    case Msg::Grant: return on_grant(data, bytes);
    case Msg::FilePages: return on_file_pages(data, bytes, stream == Stream::Bulk);
    case Msg::Drop: {
      Drop d{};
      if (read_as(d, data, bytes)) on_drop(d);
      return;
    }
    case Msg::Protect: {
      Protect p{};
      if (read_as(p, data, bytes)) on_protect(p);
      return;
    }
    case Msg::Prepare: static_cast<void>(make_runner(head.id)); return;
    case Msg::Prepared: {
      // Slots and translations for what the guest touches first: 50 to 100 us each, one by one, on its way.
      if (mm_ != nullptr && !prefilled_ && !running_) mm_->prefill_all();
      prefilled_ = true;
      make_worker();
      acknowledge(head.id);
      return;
    }
    case Msg::Run: return on_run(data, bytes);
    case Msg::CallData:
      if (Runner* const r = make_runner(head.id)) r->collect(data, bytes);
      return;
    case Msg::Kick:
      if (Runner* const r = runner(head.id)) r->kick();
      return;
    case Msg::GetFp: return on_get_fp(head.id);
    case Msg::Take: {
      PageAsk ask{};
      if (read_as(ask, data, bytes)) on_take(page_down(ask.address));
      return;
    }
    case Msg::Mapped: {
      trial::hold("remote-mapped");
      Mapped m{};
      if (!read_as(m, data, bytes)) return;
      on_clocks(m.clocks);
      mapped_ = true;
      local_calls_ = (head.flags & kMayCallLocally) != 0;
      return;
    }
    case Msg::ClockAsk: {
      ClockTell tell{};
      tell.head.id = head.id;
      tell.clocks = read_clocks();
      send(Stream::Urgent, {{&tell, sizeof tell}});
      return;
    }
    case Msg::Waits: {
      Waits w{};
      if (!read_as(w, data, bytes)) return;
      waits_at_home_.store(w.count, std::memory_order_seq_cst);
      const Head heard{Msg::Heard, 0, w.head.id};
      if (w.head.id != 0) send(Stream::Urgent, {{&heard, sizeof heard}});
      return;
    }
    case Msg::Kept: {
      PageAsk kept{};
      if (!read_as(kept, data, bytes)) return;
      const mem::LockGuard guard(lock_);
      watch_locked(page_down(kept.address));
      taken_.insert(page_down(kept.address));
      return;
    }
    case Msg::Pages: return on_pages(data, bytes, stream == Stream::Bulk);
    case Msg::PushDone: {
      push_said_ |= stream == Stream::Bulk ? 1U : 2U;
      if (push_said_ != 3) return;
      trial::hold("remote-filled");
      push_has_ended();
      return start_drain();
    }
    case Msg::Leave: return on_leave();
    case Msg::Entered: entered_ = true; return;
    case Msg::Credit: {
      Credit c{};
      if (!read_as(c, data, bytes)) return;
      bulk_credited_.fetch_add(c.bytes);
      credit_news_.fetch_add(1);
      futex_wake(&credit_news_);
      return;
    }
    default: return;
  }
}

// --- who comes

namespace {

/// Moves the host's vDSO; afterwards `vdso` says where it is, or that there is none any more.
void move_vdso(vdso::HostVdso& vdso, std::uint64_t to) {
  const std::uint64_t bytes = vdso.range_end - vdso.range_begin;
  const std::uint64_t from = vdso.range_begin;
  // Mapping by mapping: [vvar], [vvar_vclock] and [vdso] are neighbours, and cannot be split.
  for (std::uint64_t moved = 0; moved < bytes;) {
    const std::uint64_t end = mem::host_mapping_end(from + moved);
    const std::uint64_t size = end - (from + moved);
    if (end == 0 || ::mremap(pointer(from + moved), size, size, MREMAP_MAYMOVE | MREMAP_FIXED,
                             pointer(to + moved)) == MAP_FAILED) {
      vdso = {};
      return;
    }
    moved += size;
  }
  for (std::uint64_t* a : {&vdso.base, &vdso.range_begin, &vdso.range_end, &vdso.clock_gettime,
                           &vdso.gettimeofday, &vdso.time, &vdso.getcpu, &vdso.clock_getres})
    if (*a != 0) *a += to - from;
}

/// The direct engine takes what runs in the zone for the VMM, so its guest's vDSO lies where home's is:
/// nothing else of the guest's is there.
void place_vdso(vdso::HostVdso& vdso, const Init& i) {
  if (vdso.range_begin == 0) return;
  const std::uint64_t bytes = vdso.range_end - vdso.range_begin;
  const bool fits = i.host_vdso_begin % kPageSize == 0 && i.host_vdso_begin < i.host_vdso_end &&
                    i.host_vdso_end <= kTaskSize64 && bytes <= i.host_vdso_end - i.host_vdso_begin &&
                    !touches_zone(i.host_vdso_begin, bytes);
  if (fits) return move_vdso(vdso, i.host_vdso_begin);
  vdso = {};  // its clocks are system calls then
}

}  // namespace

const char* Remote::make_kvm() {
  if (kvm_fd < 0) return "/dev/kvm cannot be opened on this node";
  engine::kvm::KvmConfig config;
  config.kvm_fd = &kvm_fd;
  config.make_fd = [](int (*make)(void*), void* arg, int* owner) {
    *owner = make(arg);
    return *owner >= 0;
  };
  config.close_fd = [](int fd) { ::close(fd); };
  config.copy_in = mem::copy_in;
  config.host_vdso = vdso.range_begin;
  config.host_vdso_bytes = vdso.range_end - vdso.range_begin;
  auto made = engine::kvm::make_kvm_engine(config);
  if (!made) return made.error().op;
  prepared_ = std::make_unique<mem::Mm>(*std::move(made));
  return nullptr;
}

/// Before anybody comes: what every guest of the kvm engine needs.  What fails here fails again, and is said,
/// when somebody has come.
void Remote::prepare() {
  static_cast<void>(!uffd_.open(uffd_device));
  if (make_kvm() != nullptr) return;
  const mem::LockGuard guard(prepared_->lock());
  if (auto made = prepared_->engine().make_vcpu()) first_vcpu_ = *std::move(made);
}

const char* Remote::make_engine(const Init& i) {
  if (i.head.id != kWireVersion) return "it is another version of hpc-vmm";
  if (i.fp_bytes > FpState::kMaxBytes) return "its FP state is larger than this version carries";
  std::uint32_t here[8];
  read_cpu_features(here);
  if (missing_cpu_features(i.cpu_features, here) != 0)
    return "cpu: this node's lacks features the program may use";
  direct_ = i.engine == static_cast<std::uint8_t>(engine::Kind::Direct);
  abi_ = i.ia32 != 0 ? Abi::Ia32 : Abi::X64;
  if (uffd_.fd() < 0)
    if (auto ok = uffd_.open(uffd_device); !ok) return "userfaultfd cannot be used on this node";
  if (direct_) {
    first_vcpu_.reset();
    prepared_.reset();
    place_vdso(vdso, i);
    engine::DirectConfig config;
    config.alloc = [](std::size_t bytes, std::size_t align) { return mem::arena_map(bytes, align); };
    config.ia32 = i.ia32 != 0;
    auto made = engine::make_direct_engine(config);
    if (!made) return made.error().op;
    prepared_ = std::make_unique<mem::Mm>(*std::move(made));
  } else if (prepared_ == nullptr) {
    if (const char* const why = make_kvm()) return why;
  }
  mm_ = std::move(prepared_);
  vdso_table_ = i.vdso_table;
  return nullptr;
}

/// Before it runs here.
void Remote::on_clocks(const vdso::ClockOffsets& clocks) {
  clocks_ = clocks;
  if (!clocks.any() || vdso_table_ == 0 || mm_ == nullptr) return;
  static_cast<void>(mm_->protect(vdso_table_, HPCVMM_VDSO_TABLE_BYTES, PROT_READ | PROT_WRITE));
  fill_vdso_table(vdso_table_);
}

void Remote::on_init(const Init& i) {
  Ready r{};
  if (const char* const why = mm_ != nullptr ? "it is here already" : make_engine(i)) {
    r.code = EOPNOTSUPP;
    std::snprintf(r.why, sizeof r.why, "%s", why);
  } else {
    install_remote_signals(direct_);
  }
  trial::hold("remote-init");
  send(Stream::Urgent, {{&r, sizeof r}});
}

Runner* Remote::runner(std::uint32_t id) {
  const mem::LockGuard guard(runners_lock_);
  const auto it = runners_.find(id);
  return it == runners_.end() ? nullptr : it->second.get();
}

std::uint64_t Remote::vdso_begin() const {
  return direct_ ? vdso.range_begin : engine::kvm::host_vdso_address();
}

void Remote::began() {
  if (began_.exchange(1) != 0) return;
  Began b{};
  b.monotonic = read_clock(CLOCK_MONOTONIC);
  send(Stream::Urgent, {{&b, sizeof b}});
}

Runner* Remote::make_runner(std::uint32_t id) {
  if (mm_ == nullptr) return nullptr;
  if (Runner* const there = runner(id)) return there;
  Result<std::unique_ptr<engine::Vcpu>> vcpu = Error::of(EAGAIN, "");
  {
    const mem::LockGuard guard(mm_->lock());
    if (first_vcpu_ != nullptr)
      vcpu = std::move(first_vcpu_);
    else
      vcpu = mm_->engine().make_vcpu();
  }
  if (!vcpu) {
    say("hpc-vmm remote: %s: errno %d\n", vcpu.error().op, vcpu.error().code);
    ::_exit(1);
  }
  auto made = std::make_unique<Runner>(*this, id, *std::move(vcpu));
  Runner* const r = made.get();
  {
    const mem::LockGuard guard(runners_lock_);
    runners_[id] = std::move(made);
  }
  if (!r->start()) {
    say("hpc-vmm remote: no thread for a vCPU\n");
    ::_exit(1);
  }
  return r;
}

/// Before the first Run: a thread takes 150 us to make.
void Remote::make_worker() {
  if (worker_made_) return;
  if (!start_thread(worker_main, this, "hpc-vmm-worker")) {
    say("hpc-vmm remote: no thread\n");
    ::_exit(1);
  }
  worker_made_ = true;
}

void Remote::on_run(const std::byte* data, std::size_t bytes) {
  Run run{};
  if (!read_as(run, data, bytes)) return;
  Runner* const r = make_runner(run.head.id);
  if (r == nullptr) return;
  make_worker();
  running_ = true;
  if (began_.load() == 0) trial::hold("remote-run");
  r->order(run, data + sizeof run, bytes - sizeof run);
}

void Remote::on_get_fp(std::uint32_t id) {
  FpState fp;
  if (Runner* const r = runner(id)) r->vcpu().get_fp(fp);
  const Head head{Msg::Fp, 0, id};
  send(Stream::Urgent, {{&head, sizeof head}, {fp.area.data(), fp.area.size()}});
}

// --- start

namespace {

/// Frees the window: everything outside the zone that this process was born with.
void clear_window(vdso::HostVdso& vdso) {
  if (vdso.range_begin != 0) move_vdso(vdso, mem::arena_reserve(vdso.range_end - vdso.range_begin));
  // The largest ranges below and above the zone, in two calls.  [vsyscall] lies above TASK_SIZE.
  ::munmap(pointer(kPageSize * 16), kZoneBegin - kPageSize * 16);
  ::munmap(pointer(kZoneEnd), kTaskSize64 - kZoneEnd);
}

void on_own_stack(void* arg) {
  auto* const remote = static_cast<Remote*>(arg);
  clear_window(remote->vdso);
  if (remote->prepare_kvm) remote->prepare();
  remote->serve();
}

int owned(int fd, int* owner) {
  if (owner != nullptr) *owner = fd;
  return fd;
}

}  // namespace

void remote_main(OnStack on_stack, bool prepare_kvm, ServeShared serve_shared) {
  ::setpriority(PRIO_PROCESS, 0, 0);  // hpcd's precedence is not for guests
  HostHooks hooks;
  hooks.hide_fd = owned;
  hooks.close_fd = [](int fd) { ::close(fd); };
  hooks.say = say;
  hooks.thread_id = [] { return static_cast<int>(::syscall(SYS_gettid)); };
  hooks.process_id = [] { return static_cast<int>(::getpid()); };
  set_host_hooks(hooks);
  auto* const remote = new Remote;  // lives as long as the process
  remote->kvm_fd = ::fcntl(4, F_GETFD) >= 0 ? 4 : ::open("/dev/kvm", O_RDWR | O_CLOEXEC);
  remote->prepare_kvm = prepare_kvm;
  remote->serve_shared = serve_shared;
  remote->uffd_device = ::fcntl(5, F_GETFD) >= 0 ? 5 : -1;
  for (int fd = 3; fd <= 5; ++fd) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  if (auto found = vdso::host_vdso()) remote->vdso = *found;
  trial::read_environment();
  static char* empty[] = {nullptr};
  environ = empty;
  constexpr std::size_t kStack = std::size_t{256} << 10;
  auto* const stack = static_cast<char*>(mem::arena_map(kStack));
  if (stack == nullptr) {
    say("hpc-vmm remote: no memory\n");
    ::_exit(1);
  }
  on_stack(stack + kStack, on_own_stack, remote);
  __builtin_unreachable();
}

}  // namespace hpcvmm::migrate
