// The VMM's descriptors while they have low numbers: Linux gives each the lowest that is free, and until
// hide_fd() has moved it a guest's call would get another number than natively, see a descriptor that is not
// the guest's, or close it.
#pragma once

#include <cstdint>

#include "vmm/deputy/calls.hh"
#include "vmm/mem/lock.hh"

namespace hpcvmm::deputy {

/// Around a guest's call that is given a descriptor, closes one or lists them: it waits while one of ours is
/// low.
class GuestNumbers {
 public:
  explicit GuestNumbers(const CallContext& c);
  GuestNumbers(const GuestNumbers&) = delete;
  GuestNumbers& operator=(const GuestNumbers&) = delete;
  ~GuestNumbers();

 private:
  bool counted_ = false;
};

/// Waits for such calls, at most `limit_us`: one that blocks (accept, open of a FIFO) has its number long
/// since.  Until end_own_numbers() no more begin.  Any thread; between the two no lock is taken but that of
/// the hidden ones and the heap's, and no guest's call is made.
void begin_own_numbers(std::uint64_t limit_us);
void end_own_numbers();

/// Held from begin to end, and by a fork: no child has a low one.
mem::Lock& numbers_lock();
/// In the child of a fork: the calls of the parent's other threads are not made here.
void forget_guest_numbers();

}  // namespace hpcvmm::deputy
