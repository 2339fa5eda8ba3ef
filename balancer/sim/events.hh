// What nodes do by themselves, in order of time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <queue>
#include <vector>

#include "balancer/sim/clock.hh"

namespace hpcvmm::balancer::sim {

enum class What : std::uint8_t { End, Sent, Arrive, Crash, Boot };

struct Event {
  Ns at;
  What what;
  std::uint32_t node;  ///< place in its partition
  std::uint64_t id;    ///< End: Node::ends; Sent: the job; Arrive: place in the trace
  /// Events at the same time have an order that all runs share.
  bool operator>(const Event& o) const {
    if (at != o.at) return at > o.at;
    if (node != o.node) return node > o.node;
    return what != o.what ? what > o.what : id > o.id;
  }
};

/// Most events are far away when they are known, and void before they come: they wait unsorted in slots of a
/// quarter of a second, and only one slot is a heap, which fits into a cache.
class EventQueue {
 public:
  bool empty() const { return near_.empty(); }
  const Event& top() const { return near_.top(); }
  void pop() {
    near_.pop();
    refill();
  }
  void push(const Event& e) {
    put(e);
    refill();
  }

 private:
  static constexpr unsigned kSlotBits = 28;  // of nanoseconds
  static constexpr Ns kSlots = 1024;

  void put(const Event& e) {
    const Ns slot = e.at >> kSlotBits;
    if (slot < next_slot_) return near_.push(e);
    // What is farther than all slots is looked at again in the last of them.
    far_[static_cast<std::size_t>(std::min(slot, next_slot_ + kSlots - 1) % kSlots)].push_back(e);
    ++far_count_;
  }
  /// There is a nearest event if there is any.
  void refill() {
    while (near_.empty() && far_count_ > 0) {
      std::vector<Event> slot;
      slot.swap(far_[static_cast<std::size_t>(next_slot_ % kSlots)]);
      ++next_slot_;
      far_count_ -= slot.size();
      for (const Event& e : slot) put(e);
    }
  }

  std::priority_queue<Event, std::vector<Event>, std::greater<>> near_;
  std::vector<std::vector<Event>> far_{static_cast<std::size_t>(kSlots)};
  std::size_t far_count_ = 0;
  Ns next_slot_ = 0;  ///< the first one that is not in near_
};

}  // namespace hpcvmm::balancer::sim
