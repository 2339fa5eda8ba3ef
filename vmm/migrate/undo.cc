// A switch that fails while nothing has run on the other node yet.
#include <poll.h>
#include <sys/mman.h>

#include <cstdio>
#include <iterator>

#include "vmm/migrate/bytes.hh"
#include "vmm/migrate/home.hh"
#include "vmm/migrate/host.hh"
#include "vmm/migrate/mobile.hh"
#include "vmm/migrate/trial.hh"

namespace hpcvmm::migrate {
void Home::lose_own_hpcd() {
  std::snprintf(lost_why_, sizeof lost_why_, "the hpcd of its home node has ended");
  lost_ = 1;
}

/// The last look before vCPUs are let go, and with them the right to run: what hpcd has said until now
/// counts.
bool Home::lost_until_now() {
  pollfd p{link_.control_fd(), POLLIN, 0};
  while (lost_.load() == 0 && ::poll(&p, 1, 0) > 0)
    if (!hear(0)) lose_own_hpcd();
  return lost_.load() != 0;
}

/// After leave_locked(): the state has been sent, but no vCPU has been told to run, and none will be.
void Home::undo_leave_locked() {
  for (MobileVcpu* v : engine_.vcpus()) v->arrive();
  used_.end();
  mm_->set_away_locked(nullptr);
  runs_away_.store(false, std::memory_order_release);
  {
    const mem::LockGuard guard(lock_);
    unstash_locked();
  }
  host().is_back();
}

/// The pages go back to where they came from, with the rights the guest gave them.  Under the mm lock.
void Home::unstash_locked() {
  const auto& vmas = mm_->vmas_locked();
  for (const Directory::Stash& s : directory_.stashes()) {
    const std::uint64_t bytes = s.end - s.begin;
    ::mremap(pointer(s.copy), bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, pointer(s.begin));
    const auto v = vmas.find(s.begin);
    if (v != vmas.end() && (v->second.prot & PROT_READ) == 0)
      ::mprotect(pointer(s.begin), bytes, static_cast<int>(v->second.prot));
  }
  directory_.clear();
}

namespace {
// ear_
constexpr std::uint32_t kMoverHears = 0;
constexpr std::uint32_t kPagerMayHear = 1;
constexpr std::uint32_t kPagerHears = 2;
}  // namespace

/// By the mover: touches a page that may have to come from the remote.  When that is lost the kernel waits
/// for ever, so the pager listens to hpcd meanwhile.
void Home::touch_while_heard(std::uint64_t address) {
  ear_.store(kPagerMayHear);
  ring_bell(pager_poke_);
  static_cast<void>(touch(address));
  std::uint32_t seen = kPagerMayHear;
  while (!ear_.compare_exchange_weak(seen, kMoverHears)) {
    seen = kPagerMayHear;
    sleep_us(20);
  }
}

/// By the pager, in the mover's place.
void Home::hear_for_mover() {
  std::uint32_t seen = kPagerMayHear;
  if (!ear_.compare_exchange_strong(seen, kPagerHears)) return;
  if (lost_until_now()) die(lost_why_);
  ear_.store(kPagerMayHear);
}

/// For trials: the thread is outside the guest, so its registers are known.
void Home::visit_next() {
  constexpr std::uint32_t kTour[] = {2, 3, 0, 2, 0};
  constexpr std::uint64_t kLongestUs = 30'000'000;  // without an hpcd nobody moves
  const std::uint32_t call = calls_.fetch_add(1);
  if (!started_ || call >= trial::first_calls()) return;
  wanted_ = kTour[call % std::size(kTour)];
  poke();
  const std::uint64_t end = now_us() + kLongestUs;
  // Held at home it does not move; a vfork child's calls come here while its parent, which holds, waits for
  // it.
  while (hold_.load() == 0 && now_us() < end) {
    const std::uint32_t phase = phase_.load();
    const bool settled =
        phase == static_cast<std::uint32_t>(Phase::Home) || phase == static_cast<std::uint32_t>(Phase::Away);
    if (settled && where_.load() == wanted_.load()) return;
    futex_wait(&phase_, phase, 1000);
  }
  if (hold_.load() == 0) host().say("hpc-vmm: the move at call %u does not end\n", call);
}

}  // namespace hpcvmm::migrate
