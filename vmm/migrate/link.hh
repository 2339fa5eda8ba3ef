// A VMM process's end of the conversation with its node's hpcd (wire/local.hh): control socket and rings.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "hpcvmm/base/result.hh"
#include "hpcvmm/wire/local.hh"
#include "hpcvmm/wire/ring.hh"
#include "vmm/mem/lock.hh"

namespace hpcvmm::migrate {

enum class Stream : std::uint8_t { Urgent = 0, Bulk = 1 };

struct Part {
  const void* data;
  std::size_t bytes;
};

/// Threads: send() and send_control() any; receive() and wait() one; control functions one (may be another).
class Link {
 public:
  Link() = default;
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;
  ~Link() { close(); }

  /// Connects to the socket at `path`.  Errors: ENOENT no hpcd, ECONNREFUSED it has gone, and others of
  /// connect(2).
  Status connect(const char* path);
  /// Takes an open connection.
  void adopt(int fd);
  [[nodiscard]] int control_fd() const { return control_; }
  bool send_control(const void* message, std::size_t bytes);
  /// The same, of what may be lost: false also when hpcd is behind, or when another thread is sending.
  bool try_control(const void* message, std::size_t bytes);
  /// Waits for a message (wire::local::kMaxMessage bytes of room) and takes descriptors that come with it,
  /// already out of the guest's reach.  Returns its length; 0: hpcd has gone; -1: nothing within
  /// `timeout_ms`.
  std::ptrdiff_t receive_control(void* room, int (&fds)[3], int timeout_ms);
  /// True if descriptors come with the message that is next.
  [[nodiscard]] bool brings_descriptors() const;

  /// Maps the rings.  Takes the descriptors.  Errors: ENOMEM, what mmap(2) gives.
  Status attach(const wire::local::Attach& how, const int (&fds)[3]);
  [[nodiscard]] bool attached() const { return memory_ != nullptr; }

  /// Sends one record, gathered from `parts`; waits while the ring is full.  False: the ring is gone.
  bool send(std::uint32_t channel, Stream stream, std::initializer_list<Part> parts);
  /// From hold_bell() to ring_bell() nothing that is sent wakes hpcd, whose precedence would hold up whoever
  /// sends several records one after the other.
  void hold_bell() { bell_held_.store(true); }
  void ring_bell();
  /// The same for a bulk record of pages that lie anywhere: head, entries, then `count` times 4096 bytes.
  bool send_pages(std::uint32_t channel, const Part& head, const Part& entries, const std::byte* const* data,
                  unsigned count);
  /// The oldest record of a stream, valid until pop().
  bool receive(Stream stream, wire::local::Consumer::View& out) { return in_[index(stream)].peek(out); }
  void pop(Stream stream) { in_[index(stream)].pop(); }
  /// For poll(2) on wake_fd(): false when a record is waiting already.
  bool prepare_sleep();
  void woken();
  /// The receiver looks by itself for a while: hpcd need not wake it.
  void stay_awake() {
    for (auto& ring : in_) ring.wake();
  }
  [[nodiscard]] int wake_fd() const { return wake_me_; }

  /// Gives everything back, in a fork child too.
  void close();

 private:
  static unsigned index(Stream s) { return static_cast<unsigned>(s); }

  void wake_hpcd();
  template <class Fill> bool put(std::uint32_t channel, Stream stream, std::size_t total, Fill fill);

  int control_ = -1, wake_me_ = -1, wake_hpcd_ = -1;
  void* memory_ = nullptr;
  std::size_t bytes_ = 0;
  std::atomic<bool> bell_held_{false}, bell_due_{false};
  mem::Lock send_lock_, control_lock_;
  wire::local::Producer out_[2];
  wire::local::Consumer in_[2];
};

}  // namespace hpcvmm::migrate
