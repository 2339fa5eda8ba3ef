// A vCPU and an engine that can be somewhere else: at home they pass everything on, away they speak for the
// remote's.
//
// The registers of a stopped vCPU are always those of the local one, so that whoever holds a reference to
// regs() need not know where the process is.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "vmm/engine/engine.hh"
#include "vmm/mem/lock.hh"
#include "vmm/mem/overlay.hh"
#include "vmm/migrate/attend.hh"
#include "vmm/migrate/forward.hh"
#include "vmm/migrate/wire.hh"

namespace hpcvmm::migrate {

class Home;

/// The call in which a thread waited on another node when it was interrupted.
enum class Wait : std::uint8_t { None, Plain, Timed };

class MobileVcpu final : public engine::Vcpu {
 public:
  MobileVcpu(Home& home, std::unique_ptr<engine::Vcpu> local, std::uint32_t id)
      : home_(&home), local_(std::move(local)), id_(id) {}

  GuestRegs& regs() override { return local_->regs(); }
  engine::Exit run() override;
  void request_stop() override;
  void get_fp(FpState& out) override;
  void set_fp(const FpState& in) override;
  void set_tls(unsigned index, std::uint64_t descriptor) override;
  [[nodiscard]] std::uint64_t get_tls(unsigned index) const override { return local_->get_tls(index); }

  [[nodiscard]] std::uint32_t id() const { return id_; }
  /// Since the last run(): rip is at a call that waited and would begin again.
  [[nodiscard]] Wait interrupted_wait() const { return wait_; }
  engine::Vcpu& local() { return *local_; }
  std::unique_ptr<engine::Vcpu> release() { return std::move(local_); }
  void belong_to(Home& home) { home_ = &home; }

  /// From the signal handler of the thread inside run().
  void on_kick();
  /// Makes the guest stop: the thread inside run(), if there is one, leaves it.  True: it has stopped.  By
  /// the mover, under the mm lock.
  bool kick_out();
  bool kick_dead();
  /// Away: nothing is to be waited for any more.
  [[nodiscard]] bool has_answer() const;
  /// True while its thread waits in run() for a move to end: it touches nothing of the guest's.
  [[nodiscard]] bool parked() const { return parked_.load(std::memory_order_acquire); }
  /// Whether its thread waits in run() for guest code on another node.
  [[nodiscard]] bool runs_away_now() const { return out_.load(std::memory_order_acquire); }
  /// All vCPUs are stopped: run() will be somewhere else from now on.
  void depart();
  void arrive();
  /// The pager has an answer of the remote's, `rest` is what stands behind it; and parts of its data.
  void answered(const Left& left, const std::byte* rest, std::uint32_t bytes);
  void collect(const std::byte* data, std::size_t bytes) { forward::collect(data, bytes, ahead_); }
  void answered_fp(const std::byte* fp, std::uint32_t fp_bytes);
  void wake();
  /// CPU time its threads have used on other nodes, up to the last exit there.  Any thread.
  [[nodiscard]] CpuTime used_away() const { return used_.total(); }
  /// It is a fork child's now.
  void forget_use();

 private:
  engine::Exit run_away();
  void send_run();
  void add_results(Run& run);
  void add_names(Run& run);
  void leave_guest();
  bool call_back();
  engine::Exit run_somewhere();
  void fetch_fp_locked();
  void take_fp(const std::byte* fp, std::uint32_t bytes);

  Home* home_;
  std::unique_ptr<engine::Vcpu> local_;
  const std::uint32_t id_;
  int tid_ = 0, pid_ = 0;  // of the thread inside run(); written before inside_
  std::atomic<std::uint32_t> inside_{0};
  std::atomic<std::uint32_t> kick_seen_{0};
  std::atomic<bool> parked_{false};
  std::atomic<bool> out_{false};
  mem::Lock dead_lock_;
  bool called_back_ = false;  // the mover's: it has been told to leave the other node's guest
  bool dead_kicked_ = false;  // a killed child's vCPU has been told to leave
  std::atomic<std::uint32_t> mail_{0};
  Left left_{};
  std::uint64_t call_ = 0;      // the x86-64 call that does what left_ does, + 1; 0: unknown, or another exit
  bool limits_change_ = false;  // the call that has come may set limits
  bool tell_names_ = false;     // the remote does not know the circumstances yet
  // The data of the call that left_ is; the pager's until mail_ says so, then the thread's.
  mem::Overlay overlay_;
  forward::Blob room_, ahead_, results_;
  forward::Share share_;
  Patience patience_;
  std::uint64_t came_us_ = 0;  // when a call of the remote was here; 0: none since
  Wait wait_ = Wait::None;     // of the thread inside run()
  UsedAway used_;
  std::atomic<bool> tls_dirty_{false};
  std::atomic<bool> away_{false};
  mem::Lock fp_lock_;  // what follows, and away_'s changes
  FpState fp_;
  bool fp_known_ = false, fp_dirty_ = false;
};

class MobileEngine final : public engine::Engine {
 public:
  explicit MobileEngine(std::unique_ptr<engine::Engine> inner);
  MobileEngine(const MobileEngine&) = delete;
  MobileEngine& operator=(const MobileEngine&) = delete;
  ~MobileEngine() override;

  [[nodiscard]] engine::Kind kind() const override { return inner_->kind(); }
  Result<std::unique_ptr<engine::Vcpu>> make_vcpu() override;
  void recycle(std::unique_ptr<engine::Vcpu> vcpu) override;
  void unmap(std::uint64_t begin, std::uint64_t end) override { inner_->unmap(begin, end); }
  Status map_around(std::uint64_t address, std::uint64_t begin, std::uint64_t end,
                    engine::Prot prot) override {
    return inner_->map_around(address, begin, end, prot);
  }
  void prefill(std::uint64_t begin, std::uint64_t end, engine::Prot prot) override {
    inner_->prefill(begin, end, prot);
  }
  void reserve(std::uint64_t begin, std::uint64_t end) override { inner_->reserve(begin, end); }
  void places_reserved() override { inner_->places_reserved(); }
  void before_fork(engine::Vcpu& self) override;
  Status after_fork(engine::Vcpu& self) override;

  Home& home() { return *home_; }
  /// The vCPUs that exist.  Under the mm lock.
  [[nodiscard]] const std::vector<MobileVcpu*>& vcpus() const { return vcpus_; }
  /// nullptr: none of that number.  Any thread.
  MobileVcpu* find(std::uint32_t id);

 private:
  std::unique_ptr<engine::Engine> inner_;
  std::unique_ptr<Home> home_;
  mem::Lock registry_;  // vcpus_, which only changes under the mm lock as well
  std::vector<MobileVcpu*> vcpus_;
  std::uint32_t next_id_ = 1;
};

}  // namespace hpcvmm::migrate
