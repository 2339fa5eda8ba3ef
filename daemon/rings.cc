#include "daemon/rings.hh"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <cstring>

namespace hpcvmm::daemon {

namespace local = wire::local;

LendingReader::LendingReader(void* memory, std::uint64_t bytes)
    : words_(static_cast<local::RingWords*>(memory)),
      data_(static_cast<const std::byte*>(memory) + local::kRingWordsBytes),
      bytes_(bytes) {}

bool LendingReader::fail() {
  broken_ = true;
  return false;
}

bool LendingReader::next(View& out) {
  const std::uint64_t head = words_->head.load(std::memory_order_acquire);
  // The producer sees the tail we wrote: no honest head is more than a ring ahead of that.
  if (broken_ || head < read_ || head - freed_ > bytes_) return fail();
  while (head != read_) {
    const std::uint64_t at = read_ % bytes_;
    if (head - read_ < sizeof(local::Record) || bytes_ - at < sizeof(local::Record)) return fail();
    local::Record r{};
    std::memcpy(&r, data_ + at, sizeof r);
    if (r.bytes == local::kSkip) {
      if (head - read_ < bytes_ - at) return fail();
      shown_ = bytes_ - at;
      give_back(take());
      continue;
    }
    const std::uint64_t need = local::record_size(r.bytes);
    if (r.bytes > local::kMaxRecord || need > bytes_ - at || need > head - read_) return fail();
    shown_ = need;
    out = {r.channel, r.bytes, data_ + at + sizeof(local::Record)};
    return true;
  }
  return false;
}

std::uint32_t LendingReader::take() {
  read_ += shown_;
  shown_ = 0;
  loans_.push_back({read_, false});
  ++lent_;
  return first_ + static_cast<std::uint32_t>(loans_.size()) - 1;
}

void LendingReader::give_back(std::uint32_t number) {
  const std::uint32_t index = number - first_;
  if (index >= loans_.size() || loans_[index].back) return;
  loans_[index].back = true;
  --lent_;
  while (!loans_.empty() && loans_.front().back) {
    freed_ = loans_.front().end;
    loans_.pop_front();
    ++first_;
  }
  words_->tail.store(freed_, std::memory_order_release);
}

bool LendingReader::prepare_sleep() {
  words_->asleep.store(1, std::memory_order_seq_cst);
  if (words_->head.load(std::memory_order_seq_cst) == read_) return true;
  words_->asleep.store(0, std::memory_order_relaxed);
  return false;
}

void LendingReader::wake() { words_->asleep.store(0, std::memory_order_relaxed); }

std::uint64_t LendingReader::written() const { return words_->head.load(std::memory_order_acquire); }

Result<std::shared_ptr<Rings>> Rings::create() {
  std::shared_ptr<Rings> rings(new Rings);
  const std::size_t each = local::ring_memory(kBytes);
  const std::size_t all = each * 2 * kLanes;
  rings->memory_ = UniqueFd(::memfd_create("hpc-vmm-rings", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!rings->memory_) return Error::last("memfd_create for rings");
  if (::ftruncate(rings->memory_.get(), static_cast<off_t>(all)) != 0)
    return Error::last("ftruncate of rings");
  // The VMM process must not be able to take the memory away from under us (SIGBUS).
  if (::fcntl(rings->memory_.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    return Error::last("sealing the rings");
  void* const base = ::mmap(nullptr, all, PROT_READ | PROT_WRITE, MAP_SHARED, rings->memory_.get(), 0);
  if (base == MAP_FAILED) return Error::last("mmap of rings");
  rings->base_ = base;
  rings->wake_vmm_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  rings->wake_us_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!rings->wake_vmm_ || !rings->wake_us_) return Error::last("eventfd");
  std::byte* const at = static_cast<std::byte*>(base);
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    rings->from_[lane] = LendingReader(at + lane * each, kBytes);
    rings->to_[lane] = local::Producer(at + (kLanes + lane) * each, kBytes);
  }
  return rings;
}

Rings::~Rings() {
  if (base_ != nullptr) ::munmap(base_, local::ring_memory(kBytes) * 2 * kLanes);
}

void Rings::wake_vmm() const {
  const std::uint64_t one = 1;
  // Fails only when the counter is full, and then the VMM has not read a great many earlier wake-ups.
  static_cast<void>(!::write(wake_vmm_.get(), &one, sizeof one));
}

void Rings::drain_wake() const {
  std::uint64_t count = 0;
  static_cast<void>(!::read(wake_us_.get(), &count, sizeof count));
}

}  // namespace hpcvmm::daemon
