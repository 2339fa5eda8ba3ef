// Copying guest memory without trusting the guest's address.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hpcvmm::mem {

/// Copies; false when the guest's range touches the VMM's zone or the host faults on it (then a part may have
/// been copied, as with copy_from_user).  Never raises a signal to the guest.  Any thread. Needs
/// fix_user_copy() in the SIGSEGV and SIGBUS handlers.  A thread whose call has an overlay (overlay.hh) gets
/// and changes that, where it covers the range.
bool copy_in(void* to, std::uint64_t guest, std::size_t bytes);
bool copy_out(std::uint64_t guest, const void* from, std::size_t bytes);
/// True if the range can be written; writes nothing, and loses no write of another thread.
bool is_writable(std::uint64_t guest, std::size_t bytes);
/// Reads a NUL-terminated string of at most `room` bytes including the NUL.  Returns its length; -1 bad
/// address; `room` when it does not end in time.
std::ptrdiff_t copy_in_string(char* to, std::uint64_t guest, std::size_t room);

template <class T> bool get(T& out, std::uint64_t guest) { return copy_in(&out, guest, sizeof(T)); }
template <class T> bool put(std::uint64_t guest, const T& value) {
  return copy_out(guest, &value, sizeof(T));
}

/// If `rip` is inside the copy routine, returns the address to continue at (the copy then fails), else 0.
/// Async-signal-safe.
std::uint64_t fix_user_copy(std::uint64_t rip);

}  // namespace hpcvmm::mem
