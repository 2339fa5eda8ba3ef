// The deputy's side of a journey: it decides where its process runs, keeps the directory of pages, serves the
// remote.
//
// Two threads besides the guest's: the mover carries moves out, one at a time, and listens to hpcd; the pager
// serves page faults (userfaultfd) and what the remote sends, and takes no lock that a thread waiting for a
// page can hold.
#pragma once

#include <sys/mman.h>

#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "vmm/engine/engine.hh"
#include "vmm/mem/mm.hh"
#include "vmm/migrate/attend.hh"
#include "vmm/migrate/bytes.hh"
#include "vmm/migrate/directory.hh"
#include "vmm/migrate/files.hh"
#include "vmm/migrate/forward.hh"
#include "vmm/migrate/host.hh"
#include "vmm/migrate/link.hh"
#include "vmm/migrate/pages.hh"
#include "vmm/migrate/recent.hh"
#include "vmm/migrate/wire.hh"
#include "vmm/migrate/written.hh"
#include "vmm/names/home.hh"
#include "vmm/share/client.hh"

namespace hpcvmm::migrate {

class MobileEngine;
class MobileVcpu;

/// Where a move is.  README.md has the drawing, with what a failure does in each phase.
enum class Phase : std::uint32_t {
  Home,    // runs here; nothing is watched
  Ask,     // runs here; the channel is being opened, the remote looks at what comes
  Switch,  // stopped; the state is on its way
  Fill,    // runs there; pages of the stash are being sent
  Away,    // runs there
  Recall,  // stopped; the state comes back
  Drain,   // runs here; the remote sends the pages it has
};
const char* phase_name(Phase p);

/// What hpcd and the remote have to know of the process.
struct Identity {
  std::uint32_t node = 0;  ///< where it wants to run; 0: here
  bool ia32 = false;
  std::uint64_t vdso_table = 0;                          ///< guest address; 0: none
  std::uint64_t host_vdso_begin = 0, host_vdso_end = 0;  ///< as the guest sees it
  std::string comm, exe;
  bool same_process = false;         ///< after an exec
  bool forked = false;               ///< a child of fork that has not executed anything
  wire::local::Settings settings{};  ///< of the program that launch starts; its children have their parent's
};

class Home final : public mem::PagesAway, public mem::SharedWatch {
 public:
  explicit Home(MobileEngine& engine) : engine_(engine) {}
  Home(const Home&) = delete;
  Home& operator=(const Home&) = delete;
  ~Home() override = default;

  /// Takes what the environment asks of this process and its moves ($HPCVMM_SHARE, and trial.hh).  Once,
  /// before there is a second thread and before the environment's memory is the guest's.
  static void read_environment();

  /// Registers with hpcd and starts the mover.  Once, after the program has been loaded.  Errors: as
  /// Link::connect; without an hpcd the process simply stays where it is.
  Status start(mem::Mm& mm, const Identity& who);
  /// Waits until the process has gone to the node it should start on.  An error names why it is still here.
  bool start_there(std::string& why);
  /// In the child of fork, instead of a constructor: what stays true there.
  void inherit(Home& parent);
  /// In the child of fork, when it can run: registers anew.
  void start_child();

  /// Before something that can only be done with every page at home (fork, shared memory): brings the process
  /// home and keeps it there until let_go().  Any guest thread outside run(), with no lock.
  void hold_at_home();
  void let_go();
  /// Around vfork, from before the child is made until it is gone: it has a copy of this process's
  /// descriptors as they are now, and needs those of a journey (hpcd's bell, userfaultfd) while one lasts. So
  /// a journey that has begun is waited for, and no other begins from home; away, the child goes along, and
  /// comes home too.  On a guest thread in a host call, without locks.  False: not in a cluster, nothing to
  /// end.
  bool vfork_begins();
  void vfork_ends();

  /// Around a host call in which a guest thread may wait for a private futex: the remote, which wakes waiters
  /// of its own node itself, is told while there are others here.
  void wait_begins();
  void wait_ends();
  /// Before a host call that uses so much memory that it did not travel with the call: its pages come in
  /// batches, not one fault at a time.  On a guest thread in a host call, without locks.
  void fetch(std::uint64_t begin, std::uint64_t end);
  /// From now on every call comes home (somebody watches them).
  void forbid_local_calls() { local_calls_ = false; }

  /// True once an hpcd knows the process: from then on it may be moved at any time.
  [[nodiscard]] bool joined() const { return started_.load(); }
  /// The pid it is known by at hpcd; a vfork child has another.
  [[nodiscard]] int process() const { return process_; }
  /// True while every page is here and no move has begun.
  [[nodiscard]] bool all_here() const { return phase_.load() == static_cast<std::uint32_t>(Phase::Home); }
  /// The node whose CPUs execute it now, 0: here.
  [[nodiscard]] std::uint32_t where() const { return runs_away() ? there_.load() : 0; }
  /// Tells hpcd which CPUs of the cluster the process is bound to.
  void tell_affinity(const wire::view::CpuSet& cpus);
  /// Tells hpcd, as the last thing before the process ends by itself, what it has used and called in all:
  /// most processes are shorter than the time between two looks.  Never waits.  The calling thread's process
  /// is its own (no vfork child).
  void tell_end();
  /// The node it is to run on, 0: here.
  [[nodiscard]] std::uint32_t wanted() const { return wanted_.load(); }

  /// CPU time guest code of this process has used on other nodes, as far as it is known here.  Any thread.
  [[nodiscard]] CpuTime used_away() const { return used_.total(); }

  // For MobileVcpu.
  [[nodiscard]] bool stopping() const { return stop_.load(std::memory_order_seq_cst) != 0; }
  void park();
  /// A call has come out of the guest that is made here wherever the guest runs.
  void count_call(bool away) {
    home_calls_.fetch_add(1, std::memory_order_relaxed);
    if (away) away_calls_.fetch_add(1, std::memory_order_relaxed);
  }
  /// What the way home and back cost one call, beside the call itself.
  void note_call_time(std::uint64_t us) {
    timed_calls_.fetch_add(1, std::memory_order_relaxed);
    call_us_.fetch_add(us < kMostCallUs ? us : kMostCallUs, std::memory_order_relaxed);
  }
  /// Trials: moves the process to the next node of a tour, and waits until it is there.
  void visit_next();
  [[nodiscard]] bool runs_away() const { return runs_away_.load(std::memory_order_acquire); }
  [[nodiscard]] std::uint32_t fp_bytes() const { return fp_bytes_; }
  bool send(Stream stream, std::initializer_list<Part> parts);
  /// Ends this process as if killed, with a message, when its remote is gone.
  void die_if_lost();
  void end_vcpu(std::uint32_t id);
  /// Serves the remote while `there` does not hold, for a moment.  For a guest thread that waits for it.
  template <class There> void attend_until(Patience& patience, There there) {
    attend(
        pager_turn_, link_, patience, [this] { return pager_pass(); }, there);
  }
  forward::Budget& result_budget() { return result_budget_; }
  names::Home& names() { return names_; }
  /// A guest thread is about to run here: the first one after a move ends the downtime.
  void note_entry() {
    if (note_entry_.load(std::memory_order_relaxed) && note_entry_.exchange(false)) began_us_ = now_us();
  }
  /// While a mover's own wait lasts: hears hpcd when it is the mover who waits.
  void tick();
  [[nodiscard]] const Identity& who() const { return who_; }
  /// What was made there before the Left that has come, by the thread that it is for.  `limits_change`: and
  /// that call may set limits that grants do not know.
  void take_grown(bool limits_change);

  // mem::PagesAway
  void dropping(std::uint64_t begin, std::uint64_t end, bool content_only) override;
  void mapped(std::uint64_t begin, mem::Vma& v) override;
  void protecting(std::uint64_t begin, std::uint64_t end, std::uint32_t prot) override;
  void gathering(std::uint64_t begin, std::uint64_t end) override;
  void gathered(std::uint64_t to, std::uint64_t bytes, const mem::Vma& v) override;
  void keep_clear() override;
  void grew() override;
  // mem::SharedWatch
  [[nodiscard]] bool wants_files() const override;
  void shared_changed() override;
  void shared_going(std::uint64_t begin, std::uint64_t end) override;

  /// While a call of a guest thread's reads or writes the file behind a descriptor, which may be shared
  /// memory with pages elsewhere: true if they have been brought home, until thaw_file().
  bool freeze_file(std::uint64_t device, std::uint64_t inode);
  void thaw_file(std::uint64_t device, std::uint64_t inode);
  /// One load while nobody's shared memory is elsewhere.
  [[nodiscard]] bool files_may_be_elsewhere() const { return share_.any_elsewhere(); }
  /// A touch that the other node had no right for is right: a file has grown that is mapped there as it was.
  [[nodiscard]] bool grew(std::uint64_t address);

 private:
  struct Range {
    std::uint64_t begin = 0, end = 0;
  };

  // drained_: what the remote has said since Leave.
  static constexpr std::uint32_t kLeaving = 1, kBulkDrained = 2, kUrgentDrained = 4, kAllDrained = 7;

  // mover.cc
  static void* mover_main(void* self);
  void make_bells();
  void mover();
  bool hear(int timeout_ms);
  void hear_message(const void* message, std::size_t bytes, int (&fds)[3]);
  void go(std::uint32_t node, wire::local::Mode mode);
  int go_out(std::uint32_t node, wire::local::Mode mode, std::string& why);
  int ask(std::uint32_t node, wire::local::Mode mode, std::string& why);
  int depart(std::uint32_t node, std::string& why);
  void undo_ask();
  void wait_for_entry();
  int open_channel(std::uint32_t node, std::string& why);
  void come_back();
  [[nodiscard]] bool has_stack_down_to(std::uint64_t page);
  void note_downtime();
  // cantmove.cc
  std::string cannot_move_locked() const;
  void tell_cantmove();
  void tell_mappings();
  std::uint32_t shared_mappings_locked(wire::local::Mapping* list, std::uint32_t room) const;
  void report(const std::string& cantmove);
  [[nodiscard]] wire::local::State state() const;
  // share_home.cc
  bool share_connect(std::string& why);
  void share_sync_locked();
  void share_one(std::uint64_t begin, std::uint64_t end);
  int share_travel(std::uint32_t node, std::string& why);
  void share_back();
  void describe_shared(std::uint64_t begin, const mem::Vma& v, std::vector<MapEntry>& out);
  [[nodiscard]] std::string why_not_shared_locked() const;
  void stop_all();
  void release_all();
  bool wait_until_quiet();
  void refresh_stacks_locked();
  std::vector<MapEntry> describe_all_locked();
  int prepare_remote(std::string& why);
  int wait_prepared(Stream stream, std::string& why);
  int wait_ready(std::string& why);
  int wait_acked(std::uint32_t id, std::string& why);
  void ask_clocks();
  bool hear_clocks();
  void compare_clocks();
  void wait_for_clocks();
  bool stash_is_small();
  /// The mover's: the program has not begun, and will not before this move has ended.
  [[nodiscard]] bool starts_there() const {
    return started_there_.load() == 0 && begin_.load() == Begin::Welcomed;
  }
  void send_changes_locked(std::vector<MapEntry> now);
  bool set_aside(const std::vector<MapEntry>& entries, bool quiet);
  int leave_locked(bool quiet, std::string& why);
  void push_stash();
  void push_range(Directory::Stash& s);
  bool wait_for_credit(std::size_t bytes);
  bool push_pages(const std::uint64_t* entries, unsigned count, const std::byte* const* data,
                  unsigned with_data);
  // warm.cc
  int warm_up(wire::local::Mode mode, std::string& why);
  void choose_warm_locked(std::uint64_t most);
  bool repeat_warm();
  bool send_warm(std::uint64_t begin, std::uint64_t end, bool anonymous);
  std::vector<WrittenPages::Range> written_since(bool again);
  void set_phase(Phase p);
  bool wait_for(const std::atomic<std::uint32_t>& word, std::uint32_t until_not, std::uint64_t limit_ms);
  void close_channel();
  void poke() { ring_bell(poke_); }
  [[noreturn]] void die(const char* why);
  void refuse(std::uint64_t request, int code, const std::string& why);
  std::uint64_t stash_address(std::uint64_t begin, std::uint64_t bytes);
  bool stash_one(std::uint64_t begin, std::uint64_t end, std::uint32_t prot, bool quiet);
  bool stash_pieces(const MapEntry& e, const std::vector<std::uint64_t>& host_begins, bool quiet);
  void unwatch_all_locked();
  static void ring_bell(int fd);

  // undo.cc
  void lose_own_hpcd();
  bool lost_until_now();
  void undo_leave_locked();
  void touch_while_heard(std::uint64_t address);
  void hear_for_mover();
  void unstash_locked();

  // pager.cc
  static void* pager_main(void* self);
  void pager();
  bool pager_pass();
  void on_record(const wire::local::Consumer::View& v, Stream stream);
  void on_fault(const Uffd::Fault& f);
  void on_grown(const std::byte* data, std::size_t bytes);
  [[nodiscard]] bool may_grant() const;
  void keep_clear_of(std::uint64_t begin, std::uint64_t end);
  void take_grown_locked();
  void on_wanted(std::uint64_t page, std::uint16_t flags, std::uint32_t ask);
  void send_shared(std::uint64_t page, std::uint64_t begin, std::uint64_t end, std::uint32_t ask);
  void give_locked(std::uint64_t page, std::uint32_t ask);
  bool has_later_ones();
  void give_later_ones();
  void on_pages(const std::byte* data, std::size_t bytes, std::uint64_t credit);
  void keep_locked(std::uint64_t page);
  void install(const PageRun& run);
  unsigned install_plain_locked(const PageRun& run);
  void install_locked(std::uint64_t page, std::uint64_t flag, const std::byte* data);
  void send_page(std::uint64_t page, std::uint64_t flag, const std::byte* data, std::uint32_t ask = 0);
  void on_left(const std::byte* data, std::size_t bytes);
  [[nodiscard]] std::uint64_t time_here(std::int64_t there_ns) const;
  void on_used(std::uint64_t cpu_us, const CpuTime& used);
  void on_reopens(const std::byte* data, std::size_t bytes);
  MobileVcpu* find_vcpu(std::uint32_t id);

  // home.cc
  void send_map(std::uint64_t begin, const mem::Vma& v, PageKind kind);
  void make_anonymous(std::uint64_t begin, std::uint64_t end, std::uint32_t prot, std::uint64_t file_end);
  void wait_ack(std::uint32_t id);
  [[nodiscard]] bool is_quiet_locked(std::uint64_t begin, std::uint64_t end) const;
  void bring_locked(std::uint64_t begin, std::uint64_t end);
  void send_maps(const std::vector<MapEntry>& entries);
  /// A private file mapping that can be written: becomes anonymous memory.
  static bool takes_along(const mem::Vma& v) { return v.file && !v.shared && (v.prot & PROT_WRITE) != 0; }
  static std::uint64_t end_of_file(std::uint64_t begin, const mem::Vma& v);
  void describe(std::uint64_t begin, const mem::Vma& v, std::vector<MapEntry>& out);
  // known_files.cc
  void describe_file(std::uint64_t begin, std::uint64_t end, std::uint32_t prot, std::vector<MapEntry>& out);
  void send_files();
  void note_origin_locked(std::uint64_t begin, std::uint64_t end, Origins& out);
  void send_file_pages(Stream stream, const FilePage* pages, std::uint32_t count);
  bool push_file_pages(const FilePage* pages, std::uint32_t count);

  void tell_waits_locked(bool answer);

  MobileEngine& engine_;
  mem::Mm* mm_ = nullptr;
  Identity who_;
  Link link_;
  HomeFiles files_{link_};
  names::Home names_;
  Uffd uffd_;
  share::Client share_;
  std::string share_server_;      // the mover's: the name of the server where it goes
  bool share_travels_ = false;    // the mover's: the server has been told where it goes
  std::string share_failed_;      // under the mm lock: why there is no server
  bool share_inherited_ = false;  // of a fork child: the parent's memory is shared
  std::atomic<bool> started_{false};
  std::atomic<bool> note_entry_{false};
  std::atomic<int> mover_tid_{0};
  bool pager_runs_ = false;
  std::string no_pager_why_ = "its hpcd has given it no rings";  // the mover's
  mem::Lock pager_turn_;                                         // whoever has it receives and serves faults
  int poke_ = -1;                                                // eventfd: the mover has something to do
  int pager_poke_ = -1;  // eventfd: the pager shall look at phase_ and close_uffd_
  std::atomic<std::uint32_t> close_uffd_{0};
  std::vector<Uffd::Fault> deferred_;  // the pager's: faults in a phase that will be over soon
  std::uint32_t own_node_ = 0;
  int process_ = 0;  // set before the mover starts

  std::atomic<std::uint32_t> phase_{0};
  std::atomic<std::uint32_t> stop_{0};
  std::atomic<std::uint32_t> ear_{0};    // undo.cc: who hears hpcd while the mover may wait for a page
  std::atomic<std::uint32_t> calls_{0};  // trials: system calls so far
  // A thread that was stopped for long tells nothing of the way.
  static constexpr std::uint64_t kMostCallUs = 20'000;
  std::atomic<std::uint64_t> home_calls_{0}, away_calls_{0}, timed_calls_{0}, call_us_{0};
  std::atomic<bool> runs_away_{false};
  std::atomic<std::uint32_t> lost_{0};
  char lost_why_[192] = {};
  std::atomic<std::uint32_t> hold_{0};  // guests that need everything here
  std::atomic<int> vforks_{0};
  std::atomic<std::uint32_t> wanted_{0};         // node it should run on; 0: here
  std::atomic<std::uint32_t> where_{0};          // node it runs on; 0: here
  std::atomic<std::uint32_t> started_there_{0};  // the first move has been tried
  // Whether the program waits in start_there(): until hpcd has answered Register it may give up and run.
  enum class Begin : std::uint32_t { Waits, Welcomed, Runs };
  std::atomic<Begin> begin_{Begin::Waits};
  std::string start_why_;
  std::string cantmove_;                 // the mover's: as last told
  std::uint64_t mappings_told_ = 0;      // the mover's: of what it last told, a hash; 0: of none
  std::atomic<bool> shared_news_{true};  // cantmove_ may have to change
  std::uint64_t request_ = 0;            // Move's number that waits for MoveDone
  bool asked_ = false;                   // there is one
  wire::local::Mode mode_ = wire::local::Mode::Hybrid;

  std::uint32_t channel_ = 0, next_channel_ = 1;
  std::atomic<std::uint32_t> there_{0};  // the node at the other end of the channel
  std::uint32_t fp_bytes_ = 0;
  std::uint64_t epoch_ = 0;
  std::uint32_t migrations_ = 0;
  std::uint64_t remote_cpu_us_ = 0, remote_cpu_before_us_ = 0;
  UsedAway used_;
  std::atomic<std::uint32_t> opened_{0};  // 1 waiting, 2 there, 3 refused
  std::atomic<std::uint32_t> ready_{0};   // the same for Ready
  std::int32_t refused_ = 0;
  char refused_why_[128] = {};
  std::atomic<std::uint32_t> acked_{0};
  std::atomic<std::uint32_t> drained_{0};
  std::atomic<std::uint64_t> left_stack_{
      0};  // Leaving: where the remote's stack mapping begins; 0: not yet heard
  std::atomic<std::uint64_t> began_us_{0};  // when guest code began to run on the other side
  std::atomic<std::uint64_t> bulk_sent_{0}, bulk_credited_{0};
  std::atomic<std::uint32_t> credit_news_{0};
  std::uint64_t bulk_eaten_ = 0;  // by the pager, not yet told
  RecentPages recent_;            // the mover's: of pages sent in bulk
  RecentPages recent_in_;         // the pager's: of those that come home so
  // Clocks of the node it goes to: the mover asks, the pager hears.
  ClockDifference clocks_;
  ClockReadings asked_clocks_, told_clocks_, heard_clocks_;
  std::atomic<std::uint32_t> clock_asked_{0}, clock_told_{0};
  std::atomic<std::int64_t> clock_ahead_ns_{0};  // of ours, those it came home with
  wire::local::MoveFigures figures_{};
  bool was_running_ = false;       // the mover's: guest code ran when this move stopped it
  std::uint64_t released_us_ = 0;  // the mover's: when the guest could go on
  std::uint64_t stopped_us_ = 0;   // the mover's: when this move began to stop the guest
  WrittenPages written_;           // the mover's, as the next two
  std::vector<WrittenPages::Range> tracked_;
  PageSet warm_;                // sent before the switch, and unchanged; fixed from then on
  std::vector<MapEntry> told_;  // the mover's: the mappings that the remote has made

  std::atomic<bool> local_calls_{true};
  forward::Budget result_budget_;
  mem::Lock waits_lock_;          // what follows; taken with lock_, never the other way round
  std::uint32_t waits_ = 0;       // threads in wait_begins() .. wait_ends()
  std::uint32_t waits_told_ = 0;  // number of the last Waits
  std::atomic<std::uint32_t> waits_heard_{0};

  // growth.hh; under the mm lock.
  Range break_room_, area_room_;     // reserved here
  bool granted_ = false;             // the remote may use them
  std::uint64_t granted_break_ = 0;  // where the break was then, or has been moved to there
  mem::Lock grown_lock_;
  std::vector<GrownPiece> grown_;
  std::atomic<bool> has_grown_{false};

  mem::Lock lock_;  // what follows; the innermost of all locks
  Directory directory_;
  Origins origins_;                            // of pages in the stash
  PageSet fresh_home_;                         // of mappings made while away: at home, and not used there yet
  PageSet fresh_last_;                         // the last page of each such mapping
  std::unordered_set<std::uint64_t> pending_;  // pages asked for
  // The remote wants them, too, by this question: they go there when they have been here for a moment.
  std::unordered_map<std::uint64_t, std::uint32_t> wanted_later_;
  std::atomic<std::uint32_t> pending_news_{0};
  std::vector<Range> void_;          // Drain: what comes for these is not wanted any more
  std::uint64_t push_sequence_ = 0;  // the mover's: of the oldest page in the batch
  std::uint64_t stash_cursor_ = 0;   // the mover's
  std::string stash_why_;            // the mover's: why the last stash failed
  std::uint64_t sequence_ = 0;       // Drops sent
  std::uint32_t next_ack_ = 0;       // under the mm lock
};

/// Interrupts a thread that is inside MobileVcpu::run(), for its on_kick().  is_kick() knows the signal
/// again.
inline constexpr int kKickSignal = SIGTRAP;
void send_kick(int process, int thread);
bool is_kick(int signo, const siginfo_t& info);

}  // namespace hpcvmm::migrate
