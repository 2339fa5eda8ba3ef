// One guest address space: the mmap family, faults, and the order of edits that keeps vCPUs from seeing stale
// rights.
#pragma once

#include <cstdint>
#include <map>
#include <memory>

#include "hpcvmm/base/cpu.hh"
#include "hpcvmm/base/layout.hh"
#include "vmm/engine/engine.hh"
#include "vmm/mem/lock.hh"
#include "vmm/mem/pages_away.hh"
#include "vmm/mem/vma.hh"
#include "vmm/sys/row.hh"

namespace hpcvmm::mem {

/// What the guest's touch of an address means.
enum class Touch : std::uint8_t {
  Retry,   // translations were made: run on
  MapErr,  // SIGSEGV, SEGV_MAPERR
  AccErr,  // SIGSEGV, SEGV_ACCERR
  BusErr,  // SIGBUS, BUS_ADRERR: the file ends before this page
  NoMemory,
};

/// A regular file of root's that is open for reading and that others may not write: a mapping of it can be
/// copied to another node like one of a shared library.
bool is_steady(int fd);

/// Threads: functions lock by themselves, unless their name ends in _locked.  Shared by all tasks of a
/// CLONE_VM group, vfork children included.
class Mm {
 public:
  explicit Mm(std::unique_ptr<engine::Engine> e) : engine_(std::move(e)) {}

  engine::Engine& engine() { return *engine_; }
  Lock& lock() { return lock_; }

  /// Whether memory that is shared with others lies in the range.
  bool shares(std::uint64_t begin, std::uint64_t end) {
    const LockGuard guard(lock_);
    return has_shared(begin, end);
  }

  // The mmap family, with the arguments and results of the manual pages (section 2); `abi` says where a
  // mapping without an address may lie.  None of them lets the guest touch the VMM's zone: it is
  // ENOMEM/EINVAL there, like an address above TASK_SIZE.
  sys::SysRet map(Abi abi, std::uint64_t addr, std::uint64_t len, int prot, int flags, int fd,
                  std::uint64_t off);
  sys::SysRet unmap(std::uint64_t addr, std::uint64_t len);
  sys::SysRet protect(std::uint64_t addr, std::uint64_t len, int prot);
  sys::SysRet remap(Abi abi, std::uint64_t addr, std::uint64_t old_len, std::uint64_t new_len, int flags,
                    std::uint64_t new_addr);
  sys::SysRet advise(std::uint64_t addr, std::uint64_t len, int advice);
  sys::SysRet brk(std::uint64_t addr);
  sys::SysRet attach_shm(Abi abi, int id, std::uint64_t addr, int flags);
  sys::SysRet detach_shm(std::uint64_t addr);

  /// The guest touched `addr` and its page tables had no translation (or one without the right).
  Touch touch(std::uint64_t addr, bool write, bool exec);
  /// The host could not back a page the guest may touch, because a file got shorter: forgets the translations
  /// of file mappings, so that the guest's own #PF tells the address next time.
  void drop_file_translations();

  /// As touch(), for a place where the window is a copy: no stack grows, no file ends here.
  Touch touch_copy(std::uint64_t addr, bool write, bool exec);

  /// The stack mapping at `begin` may have grown by itself (a guest of the direct engine, the kernel): takes
  /// the host's word.  Under lock().
  void refresh_stack_locked(std::uint64_t begin);
  /// From now on `away` is told of changes; nullptr: nobody.  Under lock().
  void set_away_locked(PagesAway* away) { away_ = away; }
  /// nullptr: nobody.  Under lock().
  void set_shared_watch_locked(SharedWatch* watch) { shared_watch_ = watch; }
  /// The mapping at `begin` has become anonymous memory.  Under lock().
  void made_anonymous_locked(std::uint64_t begin, std::uint64_t end, std::uint32_t prot);

  /// Anonymous memory, readable and writable, that the guest has made elsewhere, in a place that was kept for
  /// it; false: no memory.
  /// Under lock().
  bool grown_locked(std::uint64_t begin, std::uint64_t end);
  void set_break_locked(std::uint64_t brk) { brk_ = brk; }

  /// Makes translations for what a new program touches first: its small mappings.
  void prefill_all();
  /// Records a mapping the host made by itself (initial stack, AIO ring).
  void adopt(std::uint64_t begin, const Vma& v);
  void set_brk(std::uint64_t start) { brk_start_ = brk_ = page_up(start); }
  [[nodiscard]] std::uint64_t brk_start() const { return brk_start_; }
  [[nodiscard]] std::uint64_t brk_end() const { return brk_; }
  [[nodiscard]] const VmaList& vmas_locked() const { return vmas_; }
  /// End of the window for `abi`.
  static std::uint64_t task_size(Abi abi) { return abi == Abi::Ia32 ? kTaskSize32 : kTaskSize64; }

 private:
  [[nodiscard]] bool allowed(std::uint64_t addr, std::uint64_t len) const;
  void note_mapping(std::uint64_t at, std::uint64_t len, int prot, int flags, int fd);
  static std::uint64_t file_end(std::uint64_t addr, std::uint64_t vma_end, std::uint32_t prot);
  [[nodiscard]] bool has_shared(std::uint64_t begin, std::uint64_t end) const;
  /// Before a change; true if some of the range is shared.
  bool shared_going(std::uint64_t begin, std::uint64_t end) {
    const bool shared = has_shared(begin, end);
    if (shared && shared_watch_ != nullptr) shared_watch_->shared_going(begin, end);
    return shared;
  }
  void tell_shared(bool changed) {
    if (changed && shared_watch_ != nullptr) shared_watch_->shared_changed();
  }
  void reserve_places();
  void keep_attached(std::uint64_t at, std::uint64_t bytes, int flags);
  void drop_attached(std::uint64_t begin, std::uint64_t end);
  Touch stack_touch(std::uint64_t addr);

  std::unique_ptr<engine::Engine> engine_;
  Lock lock_;
  VmaList vmas_;
  PagesAway* away_ = nullptr;
  SharedWatch* shared_watch_ = nullptr;
  struct Attached {
    std::uint64_t kept = 0, bytes = 0;  // in the zone
  };
  std::map<std::uint64_t, Attached> attached_;  // by the guest's address
  std::uint64_t brk_start_ = 0;
  std::uint64_t brk_ = 0;
};

}  // namespace hpcvmm::mem
