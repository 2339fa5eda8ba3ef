// Bell: wakes the other end of a shared-memory port (net_memif) that has no interrupt for what arrives.
//
// The two ends share a page in a file beside the port's socket and have a pipe (FIFO) each to be woken by.
// Who is about to sleep announces it in the page, looks once more for work, and sleeps on its pipe; who has
// given the other something to do reads the announcement and, if there is one, writes to the other's pipe.
// Both put a full fence between their two steps, so one of them always sees the other: no wake-up is lost,
// and none costs a system call while both are awake.
//
// The files stay when a process ends: the other end keeps its mapping, and a restart finds the same page.
// Whoever removes the folder of the sockets removes them.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "hpcvmm/base/result.hh"
#include "hpcvmm/base/unique_fd.hh"

namespace hpcvmm::net::dpdk {

class Bell {
 public:
  /// What an end may wait for, as bits.
  static constexpr std::uint32_t kArrival = 1;  ///< a frame
  static constexpr std::uint32_t kSpace = 2;    ///< room in the ring that was full

  /// Opens or makes `base`.bell, `base`.bell0, `base`.bell1 (mode 0600) as end `side`, 0 or 1.
  /// Errors: EADDRINUSE another live process is this end; those of open, mkfifo, mmap.  `why` gets a
  /// sentence. `buffer_bytes` is for the other end's others_buffer().
  static Result<Bell> open(const std::string& base, unsigned side, std::uint32_t buffer_bytes,
                           std::string& why);
  Bell(Bell&& other) noexcept;
  Bell& operator=(Bell&&) = delete;
  Bell(const Bell&) = delete;
  Bell& operator=(const Bell&) = delete;
  ~Bell();

  /// Readable after the other end rang.
  [[nodiscard]] int fd() const { return own_pipe_.get(); }
  /// Announces what we wait for, beside what is announced already; look for it once more afterwards.
  void want(std::uint32_t bits);
  /// Takes back.
  void unwant(std::uint32_t bits);
  /// Empties fd(), if the other end has rung since: hpcd sleeps often, and mostly one port of many has rung.
  /// After unwant().
  void drain();
  /// Rings if the other end waits for one of `bits`; it then no longer does.  Call after the work was
  /// published.
  void ring(std::uint32_t bits);
  /// Says "I am alive and look after this port" to the other end's last_beat().
  void beat();
  [[nodiscard]] std::uint32_t others_beat() const;
  /// Size of the other end's buffers; 0: it was never there.
  [[nodiscard]] std::uint32_t others_buffer() const;

 private:
  struct alignas(64) Slot {
    std::atomic<std::uint32_t> wanted;
    std::atomic<std::uint32_t> beats;
    std::atomic<std::uint32_t> buffer_bytes;
  };
  static_assert(std::atomic<std::uint32_t>::is_always_lock_free, "shared between processes");

  Bell(UniqueFd file, UniqueFd own, UniqueFd other, Slot* slots, unsigned side)
      : file_(std::move(file)),
        own_pipe_(std::move(own)),
        other_pipe_(std::move(other)),
        slots_(slots),
        side_(side) {}

  void note_rung(std::uint32_t bits, std::uint32_t there);
  /// Reads all there is; how many bytes.
  unsigned empty();
  [[nodiscard]] Slot& own() const { return slots_[side_]; }
  [[nodiscard]] Slot& other() const { return slots_[1 - side_]; }

  UniqueFd file_;  // holds the lock that says this end is taken
  UniqueFd own_pipe_;
  UniqueFd other_pipe_;
  Slot* slots_ = nullptr;
  unsigned side_ = 0;
  std::uint32_t wanted_ = 0;  // announced, and not looked at since
  unsigned owed_ = 0;         // bytes that are in the pipe or on their way
  unsigned spared_ = 0;       // drains without a look
};

}  // namespace hpcvmm::net::dpdk
