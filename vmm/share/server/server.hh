// A share server: the loop that both kinds have, clients and a channel.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "vmm/migrate/link.hh"
#include "vmm/share/server/sharers.hh"
#include "vmm/share/wire.hh"

namespace hpcvmm::share {

/// Turns this process, which hpcd has started as a remote, into the server of a node without the home.
/// `link` is attached; `serve` and what follows it is the first message.  Does not return.
[[noreturn]] void serve_node(migrate::Link& link, const std::byte* serve, std::size_t bytes);
/// Turns this process into a home's server, unless there is one; `cluster` is hpcd's socket (O_PATH).  Ends
/// when nobody needs it any more.
[[noreturn]] void serve_home(int cluster);

/// Threads: one.  Nothing in the loop waits for a client.
class Server {
 public:
  Server() = default;
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  virtual ~Server() = default;

 protected:
  [[noreturn]] void run();
  /// False: somebody else has the name.
  bool listen(const char* name);

  virtual void on_fault(Sharer& c, const sharers::Fault& f) = 0;
  /// True: `out` is the answer, with `send` if that is a descriptor; false: it comes later.
  virtual bool on_request(Sharer& c, const Request& r, UniqueFd fd, Reply& out, int& send) = 0;
  virtual void on_note(std::uint32_t channel, const Note& n, const Content* content) = 0;
  virtual void on_control() = 0;
  virtual void on_gone(Sharer& c) = 0;
  /// One more descriptor to listen at, -1: none; on_extra() when there is something.
  [[nodiscard]] virtual int extra_fd() const { return -1; }
  virtual void on_extra() {}
  /// After each pass: when to come back without a reason; 0: never.
  virtual std::uint64_t tick(std::uint64_t now_us) = 0;

  void send(std::uint32_t channel, const Note& n, const Content* content);
  static void answer(const Sharer& c, const Reply& r, int fd);

  std::vector<std::unique_ptr<Sharer>> clients_;
  migrate::Link* link_ = nullptr;

 private:
  bool pass_notes();
  void accept_client();
  void hear(Sharer& c);
  void wait(std::uint64_t until_us);

  UniqueFd listener_;
};

}  // namespace hpcvmm::share
