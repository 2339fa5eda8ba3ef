// System calls of a process that is away, in one round trip: what the call reads travels with Left, what it
// has written travels with Run.  README.md, "Calls with their data", has the rules.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "hpcvmm/base/cpu.hh"
#include "vmm/mem/overlay.hh"
#include "vmm/migrate/link.hh"
#include "vmm/migrate/wire.hh"

namespace hpcvmm::migrate::forward {

using Blob = std::vector<std::byte>;
using Send = std::function<bool(std::initializer_list<Part>)>;

/// Bounds what travels with calls in one direction, so that the rings hold it.  Any thread.
class Budget {
 public:
  bool take(std::size_t bytes) {
    if (used_.fetch_add(bytes) + bytes <= kMost) return true;
    give(bytes);
    return false;
  }
  void give(std::size_t bytes) { used_.fetch_sub(bytes); }

 private:
  static constexpr std::size_t kMost = std::size_t{3} << 19;
  std::atomic<std::size_t> used_{0};
};

/// What one vCPU has taken of a budget.
class Share {
 public:
  bool take(Budget& budget, std::size_t bytes) {
    if (!budget.take(bytes)) return false;
    held_ += bytes;
    return true;
  }
  void give(Budget& budget) {
    budget.give(held_);
    held_ = 0;
  }

 private:
  std::size_t held_ = 0;
};

/// Whether an absent page can be made here, without asking home.
using Owns = std::function<bool(std::uint64_t page)>;

/// At the remote: the data of the call at `regs`, as far as its pages are here or can be had cheaply.  Empty:
/// none.  On the vCPU's thread.
void pack_call(const GuestRegs& regs, Abi abi, const Owns& owns, Blob& out);

/// At home: makes the overlay of a call from what pack_call() made.  `room` holds the copies.  False: it
/// makes no sense, and the overlay is empty.
bool unpack_call(const Left& left, const std::byte* data, std::size_t bytes, Blob& room, mem::Overlay& out);

/// At home: what the call has written.
void pack_results(const mem::Overlay& from, Blob& out);

/// At the remote, on the vCPU's thread: writes it.  False: EFAULT.
bool apply_results(const Blob& data);

/// Results that could not be written: as Linux says it.
void fail_call(GuestRegs& regs);

/// Sends a blob that is too large to stand behind Left or Run ahead of it.  True: it was; the message then
/// has kDataBefore instead of kHasData.
bool send_ahead(std::uint32_t vcpu, const Blob& blob, const Send& send);

/// The other end: collects it.
void collect(const std::byte* data, std::size_t bytes, Blob& into);

}  // namespace hpcvmm::migrate::forward
