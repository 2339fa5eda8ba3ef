// The protocol's conversation: one packet in, one reply out.  Knows no socket and no thread; what it does to
// the program goes through Target, so that tests can hold a conversation without a program.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hpcvmm/base/cpu.hh"
#include "vmm/gdb/codec.hh"
#include "vmm/gdb/files.hh"
#include "vmm/gdb/registers.hh"

namespace hpcvmm::gdb {

/// Why the program stands still, or how it ended.
struct Stop {
  enum class Kind : std::uint8_t { Signal, Breakpoint, Exited, Killed };
  Kind kind = Kind::Signal;
  int tid = 0;
  int value = 0;  // Linux signal, or exit status
};

/// One action of a vCont packet; thread -1: all.
struct Action {
  std::int64_t thread = -1;
  bool step = false;
  bool stop = false;
  int signo = 0;
};

/// What the conversation can do to the stopped program.  Called by one thread.
class Target {
 public:
  Target() = default;
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;
  virtual ~Target() = default;
  [[nodiscard]] virtual Abi abi() const = 0;
  [[nodiscard]] virtual std::string_view exe() const = 0;
  [[nodiscard]] virtual std::string_view auxv() const = 0;
  [[nodiscard]] virtual int pid() const = 0;
  virtual std::vector<int> threads() = 0;
  virtual std::string thread_name(int tid) = 0;
  virtual bool get(int tid, RegisterFile& out) = 0;
  virtual bool set(int tid, const RegisterFile& in) = 0;
  virtual std::size_t read(std::uint64_t at, void* to, std::size_t bytes) = 0;
  virtual bool write(std::uint64_t at, const void* from, std::size_t bytes) = 0;
  virtual bool insert_breakpoint(std::uint64_t at) = 0;
  virtual bool remove_breakpoint(std::uint64_t at) = 0;
  virtual void pass_signals(std::uint64_t mask) = 0;
  /// The siginfo_t of the thread's stop, in the program's layout; empty: no such thread.
  virtual std::string siginfo(int tid) = 0;
  /// Files as the program would open them; for gdb, which looks for libraries there.
  virtual Files& files() = 0;
};

class Session {
 public:
  enum class Then : std::uint8_t { Stay, Resume, Detach, Kill };
  struct Reply {
    std::string body;
    bool send = true;
    Then then = Then::Stay;
  };

  explicit Session(Target& target) : target_(target) {}
  /// Serves one packet.  Anything malformed is answered "E01", anything unknown "" as the protocol asks.
  Reply handle(std::string_view packet);
  /// The stop reply for `stop`, which also becomes the answer to '?' and the current thread.
  std::string report(const Stop& stop);
  /// After a reply with Then::Resume: what each thread is to do (the first match counts; none: it stays
  /// stopped).
  [[nodiscard]] const std::vector<Action>& actions() const { return actions_; }
  [[nodiscard]] bool no_ack() const { return no_ack_; }

 private:
  Reply query(std::string_view packet);
  Reply query_threads(std::string_view packet);
  Reply query_transfer(std::string_view packet);
  Reply set_mode(std::string_view packet);
  Reply letter_v(std::string_view packet);
  Reply file(std::string_view packet);
  Reply resume_one(std::string_view packet);
  Reply vcont(std::string_view packet);
  Reply select_thread(std::string_view packet);
  Reply read_registers();
  Reply write_registers(std::string_view hex);
  Reply read_one(std::string_view packet);
  Reply write_one(std::string_view packet);
  Reply read_memory(std::string_view packet);
  Reply write_memory(std::string_view packet, bool binary);
  Reply breakpoint(std::string_view packet, bool insert);
  Reply alive(std::string_view packet);
  [[nodiscard]] int general_thread();
  [[nodiscard]] std::string thread_id(int tid) const;

  Target& target_;
  Stop last_;
  std::int64_t general_ = 0;    // of Hg; 0: any
  std::int64_t continue_ = -1;  // of Hc; -1: all
  bool no_ack_ = false;
  bool with_pids_ = false;  // ids are written pPID.TID; gdb reads /proc/PID/maps (vDSO) only then
  std::vector<Action> actions_;
};

}  // namespace hpcvmm::gdb
