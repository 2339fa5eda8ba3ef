// Runs a measurement in a child process with a time limit: a broken host must not hang or kill the caller.
#pragma once

#include <cstdint>
#include <type_traits>

namespace hpcvmm::probe {

enum class Outcome : std::uint8_t { Done, Crashed, TimedOut, NotRun };

namespace detail {
Outcome run_in_child(void (*body)(void*), void* result, unsigned long bytes, int limit_ms);
}  // namespace detail

/// Calls `body(result)` in a child and brings `result` back, also what was written before a crash or the
/// limit. The child has no exit signal, so a caller with a SIGCHLD handler or mask (a guest's, at launch)
/// sees nothing. Threads: the caller must be single-threaded, or `body` must not allocate.
template <class R> Outcome run_guarded(int limit_ms, R& result, void (*body)(R&)) {
  static_assert(std::is_trivially_copyable_v<R>);
  struct Call {
    R result;
    void (*body)(R&);
  };
  Call call{result, body};
  const auto thunk = [](void* raw) {
    auto* const inner = static_cast<Call*>(raw);
    inner->body(inner->result);
  };
  const Outcome outcome = detail::run_in_child(thunk, &call, sizeof(call), limit_ms);
  result = call.result;
  return outcome;
}

/// CLOCK_MONOTONIC in microseconds.
double now_us();

/// Median of `values[0..count)`, which it reorders.  0 when there are none.
double median(double* values, unsigned count);

}  // namespace hpcvmm::probe
