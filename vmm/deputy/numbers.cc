#include "vmm/deputy/numbers.hh"

#include <fcntl.h>

#include <atomic>
#include <climits>

#include "vmm/migrate/host.hh"

namespace hpcvmm::deputy {
namespace {

mem::Lock g_lock;                      // NOLINT: per process, as the next two
std::atomic<std::uint32_t> g_ours{0};  // 1: ours may be low
std::atomic<std::uint32_t> g_guests{0};

bool concerns_numbers(const CallContext& c) {
  using sys::Call;
  switch (c.row.call) {
    case Call::open:
    case Call::openat:
    case Call::openat2:
    case Call::creat:
    case Call::open_by_handle_at:
    case Call::close:
    case Call::close_range:
    case Call::dup:
    case Call::dup2:
    case Call::dup3:
    case Call::pipe:
    case Call::pipe2:
    case Call::socket:
    case Call::socketpair:
    case Call::socketcall:
    case Call::accept:
    case Call::accept4:
    case Call::recvmsg:
    case Call::recvmmsg:
    case Call::recvmmsg_time64:
    case Call::eventfd:
    case Call::eventfd2:
    case Call::epoll_create:
    case Call::epoll_create1:
    case Call::timerfd_create:
    case Call::signalfd:
    case Call::signalfd4:
    case Call::inotify_init:
    case Call::inotify_init1:
    case Call::memfd_create:
    case Call::memfd_secret:
    case Call::mq_open:
    case Call::pidfd_open:
    case Call::perf_event_open:
    case Call::userfaultfd:
    case Call::getdents:
    case Call::getdents64:
    case Call::readdir: return true;
    case Call::fcntl:
    case Call::fcntl64:
      return c.as_int(1) == F_DUPFD || c.as_int(1) == F_DUPFD_CLOEXEC || c.as_int(1) == F_GETFD;
    default: return false;
  }
}

}  // namespace

// Of the two counts each side writes its own before it reads the other's, so never both go on.
GuestNumbers::GuestNumbers(const CallContext& c) {
  // A vfork child has a table of its own, and may be killed in its call.
  if (c.task.vfork_child || !concerns_numbers(c)) return;
  for (;;) {
    g_guests.fetch_add(1, std::memory_order_seq_cst);
    if (g_ours.load(std::memory_order_seq_cst) == 0) break;
    g_guests.fetch_sub(1, std::memory_order_seq_cst);
    migrate::futex_wait(&g_ours, 1);
  }
  counted_ = true;
}

GuestNumbers::~GuestNumbers() {
  if (counted_) g_guests.fetch_sub(1, std::memory_order_release);
}

void begin_own_numbers(std::uint64_t limit_us) {
  constexpr std::uint64_t kStep = 20;
  g_lock.lock();
  g_ours.store(1, std::memory_order_seq_cst);
  const std::uint64_t end = migrate::now_us() + limit_us;
  while (g_guests.load(std::memory_order_seq_cst) != 0 && migrate::now_us() < end) migrate::sleep_us(kStep);
}

void end_own_numbers() {
  g_ours.store(0, std::memory_order_seq_cst);
  migrate::futex_wake(&g_ours, INT_MAX);
  g_lock.unlock();
}

mem::Lock& numbers_lock() { return g_lock; }

void forget_guest_numbers() { g_guests.store(0); }

}  // namespace hpcvmm::deputy
