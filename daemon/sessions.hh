// The connections of VMM processes: run_dir/vmm.sock, adopted children, and the remotes that hpcd has started
// itself.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "daemon/local_codec.hh"
#include "daemon/poller.hh"
#include "hpcvmm/base/result.hh"
#include "hpcvmm/base/unique_fd.hh"
#include "hpcvmm/wire/local.hh"

namespace hpcvmm::daemon {

using SessionId = std::uint32_t;

/// One connection of one VMM process.
struct Session {
  SessionId id = 0;
  pid_t pid = 0;  ///< as the kernel says
  uid_t uid = 0;
  bool registered = false;
  bool spawned = false;  ///< a remote that we started
  wire::local::Role role = wire::local::Role::Deputy;
  wire::local::EngineKind engine = wire::local::EngineKind::Kvm;
  bool ia32 = false;
  std::string comm, exe;
  wire::local::State state{};
  std::vector<wire::local::Mapping> mappings;  ///< that it shares with others: the first of them
  std::uint32_t mappings_total = 0;
  std::optional<wire::local::Held> held;  ///< the answer to the last AskHeld
  wire::view::CpuSet affinity;            ///< CPUs of the cluster that it is bound to; empty: all
  std::uint64_t bytes_away = 0;           ///< moved on its last way out
  std::uint32_t port = 0;                 ///< its rings in the Relay; 0: none yet

  UniqueFd socket, process;  ///< `process`: a pidfd
  Poller::Id watch = 0, process_watch = 0;
  std::uint64_t deadline_ms = 0;  ///< until when it must have registered
  /// Messages the process has not read yet.
  std::deque<std::vector<std::byte>> unsent;
};

/// What is done about the messages; called from Poller::run.
class SessionEvents {
 public:
  SessionEvents() = default;
  SessionEvents(const SessionEvents&) = delete;
  SessionEvents& operator=(const SessionEvents&) = delete;
  virtual ~SessionEvents() = default;

  /// `before`: what the same process was until it registered anew (after exec); nullptr: it is new.  Its
  /// channels have been given to on_gone by then.
  virtual void on_register(Session& s, const wire::local::Register& m, const Session* before) = 0;
  virtual void on_state(Session& s) = 0;
  /// It has said which CPUs it is bound to.
  virtual void on_affinity(Session& s) = 0;
  virtual void on_open(Session& s, const wire::local::Open& m) = 0;
  virtual void on_close(Session& s, const wire::local::Close& m) = 0;
  virtual void on_move_done(Session& s, const wire::local::MoveDone& m) = 0;
  virtual void on_file_seen(const wire::local::FileSeen& m) = 0;
  virtual void on_file_ask(Session& s, const wire::local::FileAsk& m) = 0;
  virtual void on_names_ask(const Session& s, const wire::local::NamesAsk& m) = 0;
  /// On a connection that has not registered, and ends with the answer.
  virtual void on_names_hold(Session& s, const wire::local::NamesHold& m) = 0;
  /// The process has ended, hung up, or broken the protocol.  `s` is valid during the call only.
  virtual void on_gone(Session& s, const std::string& why) = 0;
};

/// Threads: one.
class Sessions {
 public:
  Sessions(Poller& poller, SessionEvents& events) : poller_(poller), events_(events) {}
  Sessions(const Sessions&) = delete;
  Sessions& operator=(const Sessions&) = delete;
  ~Sessions();

  /// Listens at `path`, which anybody may connect to.  Errors: those of socket, bind, chmod, listen.
  Status listen(const std::string& path);
  void stop_listening();

  /// The connection of a remote that was just started: `pid` is its process, `process` the pidfd.
  /// Errors: those of epoll_ctl.
  Result<SessionId> add_spawned(UniqueFd socket, UniqueFd process, pid_t pid);

  Session* find(SessionId id);
  /// The deputy with this process number; nullptr: none.
  Session* find_deputy(pid_t pid);
  [[nodiscard]] const std::unordered_map<SessionId, std::unique_ptr<Session>>& all() const {
    return sessions_;
  }

  /// Sends a message, with descriptors if any.  A process that does not read its messages is ended, by
  /// reap(): `s` stays valid.
  void send(Session& s, std::span<const std::byte> message, std::span<const int> descriptors = {});
  template <class T> void send(Session& s, const T& message) {
    send(s, std::as_bytes(std::span(&message, 1)));
  }
  /// Calls on_gone and closes the connection.  `why` goes to the log.
  void end(SessionId id, const std::string& why);

  /// Ends the connections that send() gave up.  Once in a pass of the loop.
  void reap();
  /// Ends connections that have not registered in time.  Units: milliseconds of the caller's clock.
  void tick(std::uint64_t now_ms);

 private:
  struct Incoming;
  void accept_some();
  Session* add(UniqueFd socket, uid_t uid, pid_t pid);
  void readable(SessionId id, std::uint32_t events);
  bool receive(Session& s, Incoming& in);
  void handle(SessionId id, Incoming& in);
  void handle_register(Session& s, const wire::local::Register& m, const Incoming& in);
  void handle_adopt(Session& s, Incoming& in);
  bool flush(Session& s);
  void process_ended(SessionId id);
  void hang_up(Session& s);
  void doom(const Session& s, const char* why);

  Poller& poller_;
  SessionEvents& events_;
  UniqueFd listener_;
  Poller::Id listener_watch_ = 0;
  std::unordered_map<SessionId, std::unique_ptr<Session>> sessions_;
  std::unordered_map<pid_t, SessionId> deputies_;
  std::vector<std::pair<SessionId, const char*>> doomed_;
  SessionId next_ = 1;
  std::uint64_t now_ms_ = 0;
};

}  // namespace hpcvmm::daemon
