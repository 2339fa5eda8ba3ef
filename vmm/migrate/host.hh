// What this folder needs of the process it runs in: a deputy or a remote.
#pragma once

#include <cstdint>

#include "hpcvmm/wire/view.hh"
#include "vmm/migrate/used.hh"

namespace hpcvmm::migrate {

struct HostHooks {
  /// Puts a descriptor out of the guest's reach and keeps `owner` informed of its number.
  int (*hide_fd)(int fd, int* owner) = nullptr;
  void (*close_fd)(int fd) = nullptr;
  /// Whether a descriptor is the VMM's own, out of the guest's reach; at home.
  bool (*is_hidden)(int fd) = nullptr;
  /// Around making descriptors until they are hidden, at home: see OwnNumbers.
  void (*begin_own_numbers)(std::uint64_t limit_us) = nullptr;
  void (*end_own_numbers)() = nullptr;
  void (*say)(const char* format, ...) __attribute__((format(printf, 1, 2))) = nullptr;
  /// Kernel ids of the calling thread and of the process that a signal to it must name.
  int (*thread_id)() = nullptr;
  int (*process_id)() = nullptr;
  /// hpcd's socket, open with O_PATH; -1: no cluster.
  int (*cluster_fd)() = nullptr;
  /// open(2) as IA32 programs make it, without O_LARGEFILE; the kernel's result.
  std::int64_t (*open_small)(const char* path, int flags) = nullptr;
  /// Somebody else has bound the process to these CPUs; empty: to none.
  void (*affinity)(const wire::view::CpuSet& cpus) = nullptr;
  /// The guest is stopped and its memory still here; every page of it is here again.
  void (*leaves)() = nullptr;
  void (*is_back)() = nullptr;
  /// CPU time that guest code of this process has used on other nodes so far, microseconds.
  void (*used_away)(const CpuTime& all) = nullptr;
  /// Starts the home's share server (vmm/share), which may be there already.
  bool (*start_share_server)() = nullptr;
};

/// Set once, before anything else here is used.
void set_host_hooks(const HostHooks& hooks);
const HostHooks& host();

/// From before a descriptor is made until it is hidden: no call of the guest's meets it at the low number
/// that it has at first.  Nests not.
class OwnNumbers {
 public:
  OwnNumbers();
  OwnNumbers(const OwnNumbers&) = delete;
  OwnNumbers& operator=(const OwnNumbers&) = delete;
  ~OwnNumbers();
};

/// Microseconds of CLOCK_MONOTONIC, by system call: the vDSO may have been moved.
std::uint64_t now_us();
void sleep_us(std::uint64_t us);
/// FUTEX_WAIT / FUTEX_WAKE (private) without touching errno.  `us` 0: no limit.
void futex_wait(const void* word, std::uint32_t value, std::uint64_t us = 0);
void futex_wake(const void* word, int count = 1);
/// CPU time of this whole process, microseconds.
std::uint64_t process_cpu_us();
/// CPU time of the calling thread; of the thread `tid` of this process, microseconds, 0: there is none.
CpuTime thread_cpu();
std::uint64_t thread_cpu_us(int tid);

/// Others wait for the calling thread from now on: its turns are short, so that the scheduler lets it run
/// soon after it wakes (Linux 6.12 and later), and its sleeps are as short as asked for.  False: not any
/// more.
void answer_soon(bool soon = true);

/// A detached thread of the VMM's own, with every signal blocked and its stack in the arena.
bool start_thread(void* (*main)(void*), void* arg, const char* name);

}  // namespace hpcvmm::migrate
