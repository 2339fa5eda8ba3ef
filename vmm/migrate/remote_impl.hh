#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "guest-agent/vdso/vdso.hh"
#include "vmm/engine/engine.hh"
#include "vmm/mem/mm.hh"
#include "vmm/migrate/attend.hh"
#include "vmm/migrate/attic.hh"
#include "vmm/migrate/bytes.hh"
#include "vmm/migrate/files.hh"
#include "vmm/migrate/forward.hh"
#include "vmm/migrate/growth.hh"
#include "vmm/migrate/link.hh"
#include "vmm/migrate/pages.hh"
#include "vmm/migrate/recent.hh"
#include "vmm/migrate/remote.hh"
#include "vmm/migrate/wire.hh"
#include "vmm/names/calls.hh"
#include "vmm/share/client.hh"

namespace hpcvmm::migrate {

class Remote;

/// Handlers for kicks and for faults of copies; `direct`: through that engine.
void install_remote_signals(bool direct);

/// One vCPU and the host thread that runs it.
class Runner {
 public:
  Runner(Remote& remote, std::uint32_t id, std::unique_ptr<engine::Vcpu> vcpu)
      : remote_(remote), vcpu_(std::move(vcpu)), id_(id) {}
  bool start();
  /// By the pager: run from here; `extra` is what follows the message.
  void order(const Run& run, const std::byte* extra, std::size_t bytes);
  /// By the pager: a part of what the next order writes.
  void collect(const std::byte* data, std::size_t bytes) { forward::collect(data, bytes, results_); }
  void kick();
  void interrupted() { vcpu_->request_stop(); }
  // For calls made here (local_calls.hh).
  [[nodiscard]] int pid() const { return pid_; }
  [[nodiscard]] int tid() const { return guest_tid_; }
  [[nodiscard]] const volatile int& pending() const {
    static_assert(sizeof kicked_ == sizeof(int) && std::atomic<int>::is_always_lock_free);
    return reinterpret_cast<const volatile int&>(kicked_);
  }
  engine::Vcpu& vcpu() { return *vcpu_; }
  /// CPU time between orders and the exits that answered them; waiting for an order is the VMM's.  Any
  /// thread.
  [[nodiscard]] CpuTime used() const;
  [[nodiscard]] bool runs() const { return started_us_.load() != 0; }

 private:
  void begin_use();
  void end_use();
  static void* main(void* self);
  void loop();
  void run_guest();
  void leave(const engine::Exit& e, std::uint16_t flags);
  bool before_leaving(const engine::Exit& e, const GuestRegs& regs);
  void pack(const engine::Exit& e, Left& l);

  Remote& remote_;
  std::unique_ptr<engine::Vcpu> vcpu_;
  const std::uint32_t id_;
  std::atomic<std::uint32_t> orders_{0};  // 1: run
  std::atomic<int> kicked_{0};
  int pid_ = 0, guest_tid_ = 0;
  std::atomic<int> tid_{0};
  forward::Blob results_;  // with an order: what to write before the guest runs
  bool has_results_ = false;
  forward::Blob call_;
  forward::Share share_;
  Patience patience_;
  bool may_look_ = false;                        // up names here, since the last order
  std::uint64_t called_us_ = 0, waited_us_ = 0;  // when it called home, and how long the answer took
  CpuTime began_;                                // this thread's CPU time at the last order
  std::atomic<std::uint64_t> used_user_us_{0}, used_system_us_{0};  // up to the last exit
  std::atomic<std::uint64_t> started_us_{0};  // began_, both kinds and 1, while it runs; 0: it waits
  bool has_run_ = false;                      // before, the pager alone sees to what comes
};

class Remote {
 public:
  [[noreturn]] void serve();
  void prepare();

  mem::Mm& mm() { return *mm_; }
  /// Serves home while `there` does not hold, for a moment.  For a vCPU's thread that waits for an order.
  template <class There> void attend_until(Patience& patience, There there) {
    attend(
        turn_, link_, patience, [this] { return pass(); }, there);
  }
  bool send(Stream stream, std::initializer_list<Part> parts) { return link_.send(kChannel, stream, parts); }
  void began();
  [[nodiscard]] bool local_calls() const { return local_calls_; }
  /// True for a page that is not at home: absent, it reads as zero.
  bool owns(std::uint64_t page);
  forward::Budget& call_budget() { return call_budget_; }
  names::Calls& names() { return names_; }
  /// Of the process.
  [[nodiscard]] Abi abi() const { return abi_; }
  /// No other thread of the process has ever run here.
  [[nodiscard]] bool one_thread();
  /// brk or mmap, if home has granted a place for it: by the runner.  False: it is for home.
  bool grow(sys::Call call, const sys::Args& args, std::uint64_t& result);
  /// Before a Left.
  void tell_grown();
  /// CPU time of all its vCPUs.  Any thread.
  [[nodiscard]] CpuTime used();
  void told_of(const CpuTime& used) { told_us_.store(used.sum(), std::memory_order_relaxed); }
  [[nodiscard]] bool waits_at_home() const { return waits_at_home_.load(std::memory_order_seq_cst) != 0; }
  /// The host's vDSO as guests see it.
  [[nodiscard]] std::uint64_t vdso_begin() const;
  [[nodiscard]] std::uint64_t vdso_end() const { return vdso_begin() + (vdso.range_end - vdso.range_begin); }

  /// Guest address of its vDSO's table; 0: none.
  [[nodiscard]] std::uint64_t vdso_table() const { return vdso_table_; }
  /// The process's clocks minus this node's.
  [[nodiscard]] const vdso::ClockOffsets& clocks() const { return clocks_; }

  int kvm_fd = -1, uffd_device = -1;
  bool prepare_kvm = false;
  ServeShared serve_shared = nullptr;
  vdso::HostVdso vdso;

 private:
  void acknowledge(std::uint32_t id);
  void on_grant(const std::byte* data, std::size_t bytes);
  static constexpr std::uint32_t kChannel = 1;
  struct Range {
    std::uint64_t end;
    PageKind kind;
    bool grows_down;
    bool watched;  ///< by uffd_; false: absent pages are zero, and the kernel makes them
  };
  struct Void {
    std::uint64_t begin, end, sequence;
  };

  void hear();
  [[nodiscard]] int patience_ms();
  void tell_used();
  bool pass();
  void on_record(const wire::local::Consumer::View& v, Stream stream);
  bool put_off(Msg type, const wire::local::Consumer::View& v);
  static void* worker_main(void* self);
  void worker();
  void make_worker();
  void handle(const std::byte* data, std::size_t bytes, Stream stream);
  void on_init(const Init& i);
  void on_clocks(const vdso::ClockOffsets& clocks);
  const char* make_engine(const Init& i);
  const char* make_kvm();
  void on_maps(const std::byte* data, std::size_t bytes);
  void make_map(const MapEntry& e);
  void fill_vdso_table(std::uint64_t at);
  bool map_file(const MapEntry& e, std::uint64_t& end);
  // share_remote.cc
  void on_share_server(const ShareServer& s);
  bool map_coherent(const MapEntry& e);
  void unmap_coherent(std::uint64_t begin, std::uint64_t end);
  void on_files(const std::byte* data, std::size_t bytes);
  void take_store(int fd);
  void on_names(const std::byte* data, std::size_t bytes);
  void ask_for_name(std::string_view path);
  void tell_reopens(const std::vector<std::byte>& reopens, std::uint32_t count);
  void on_file_pages(const std::byte* data, std::size_t bytes, bool bulk);
  void count_bulk(std::size_t bytes);
  void on_drop(const Drop& d);
  void on_protect(const Protect& p);
  void on_run(const std::byte* data, std::size_t bytes);
  void on_get_fp(std::uint32_t id);
  void watch_locked(std::uint64_t page);
  void unwatch_locked();
  void make_zero(std::uint64_t page, bool write);
  void on_take(std::uint64_t page);
  void on_pages(const std::byte* data, std::size_t bytes, bool bulk);
  void install(const PageRun& run, std::uint64_t sequence, bool bulk);
  unsigned install_plain_locked(const PageRun& run);
  void install_locked(std::uint64_t page, std::uint64_t flag, const std::byte* data, std::uint64_t sequence,
                      bool bulk);
  void put_aside(std::uint64_t page, std::map<std::uint64_t, Range>::iterator range, const std::byte* data);
  void on_fault(const Uffd::Fault& f);
  void push_has_ended();
  void on_leave();
  void start_drain();
  static void* drain_main(void* self);
  void drain();
  void wait_for_credit();
  void drain_range(std::uint64_t begin, std::uint64_t end);
  void send_page(std::uint64_t page, std::uint64_t flag, const std::byte* data);
  Runner* runner(std::uint32_t id);
  Runner* make_runner(std::uint32_t id);
  std::map<std::uint64_t, Range>::iterator find(std::uint64_t page);
  void split(std::uint64_t at);
  void set_range(std::uint64_t begin, const Range& r);
  void erase_range(std::uint64_t begin, std::uint64_t end);

  Link link_;
  RemoteFiles files_{link_};
  share::Client share_;
  names::Calls names_{[this](std::string_view path) { ask_for_name(path); },
                      [this](const std::vector<std::byte>& r, std::uint32_t n) { tell_reopens(r, n); }};
  mem::Lock turn_;  // whoever has it receives and serves faults
  Uffd uffd_;
  std::unique_ptr<mem::Mm> mm_;
  std::unique_ptr<mem::Mm> prepared_;         // before Init: the kvm engine, made in advance
  std::unique_ptr<engine::Vcpu> first_vcpu_;  // of it
  std::uint64_t vdso_table_ = 0;
  vdso::ClockOffsets clocks_;  // from Mapped on
  bool direct_ = false;
  Abi abi_ = Abi::X64;
  Growth growth_;  // of the only thread, and the pager while that waits
  std::atomic<bool> local_calls_{false};
  forward::Budget call_budget_;
  std::atomic<bool> entered_{false};  // at home, after Leave
  std::atomic<std::uint32_t> waits_at_home_{0};
  bool prefilled_ = false;
  bool mapped_ = false;  // the mappings are there: the bulk stream, which may be ahead, is heard
  bool worker_made_ = false;
  bool running_ =
      false;  // a vCPU has been started: others may hold the mm lock, and wait for pages meanwhile
  // Messages that need the mm lock, and what came behind them: the worker's.
  mem::Lock queue_lock_;
  std::deque<std::vector<std::byte>> queue_;
  std::atomic<std::uint32_t> queued_{0};
  mem::Lock runners_lock_;
  std::map<std::uint32_t, std::unique_ptr<Runner>> runners_;
  std::atomic<std::uint32_t> began_{0};
  std::atomic<std::uint64_t> told_us_{0};  // of used(), at home
  std::atomic<std::uint64_t> bulk_sent_{0}, bulk_credited_{0};
  std::atomic<std::uint32_t> credit_news_{0};
  std::uint64_t bulk_eaten_ = 0;
  unsigned push_said_ = 0;  // PushDone: 1 in the bulk stream, 2 in the urgent one

  mem::Lock lock_;  // what follows
  std::map<std::uint64_t, Range> ranges_;
  Attic attic_;
  RecentPages recent_;                       // the receiver's: of home's bulk
  RecentPages recent_out_;                   // the drain's
  std::unordered_set<std::uint64_t> taken_;  // home has them
  // Asked for, with the number of the question: an older one's "none" says nothing about the page any more.
  std::unordered_map<std::uint64_t, std::uint32_t> pending_;
  std::uint32_t last_ask_ = 0;
  std::unordered_set<std::uint64_t> promised_;  // home wants them as soon as they arrive
  std::vector<Void> void_;
  bool push_done_ = false;
  bool leaving_ = false, draining_ = false;
  std::uint64_t drain_cursor_ = 0;  // pages below it have been sent, if they were there
};

}  // namespace hpcvmm::migrate
