// Connections of bytes, Unix or TCP, with bounds on everything a client can make us hold.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "daemon/poller.hh"
#include "hpcvmm/base/result.hh"
#include "hpcvmm/base/unique_fd.hh"

namespace hpcvmm::daemon {

struct StreamLimits {
  std::size_t connections = 128;
  std::size_t input = 32768;       ///< bytes not yet consumed; beyond, the connection is closed
  std::size_t output = 64U << 20;  ///< bytes not yet read by the client; the same
  std::uint64_t idle_ms = 0;       ///< 0: a client may be silent for ever
};

/// Threads: one.
class StreamServer {
 public:
  using Id = std::uint64_t;
  /// Takes what it understands from the front of `input`.
  using OnInput = std::function<void(Id id, std::string& input)>;

  StreamServer(Poller& poller, StreamLimits limits, OnInput on_input)
      : poller_(poller), limits_(limits), on_input_(std::move(on_input)) {}
  StreamServer(const StreamServer&) = delete;
  StreamServer& operator=(const StreamServer&) = delete;
  ~StreamServer();

  /// Errors: those of socket, bind, chmod, listen.
  Status listen_at(const std::string& path, mode_t mode);
  /// "127.0.0.1:9177": loopback addresses only.  Errors: EINVAL not such an address; those of socket, bind,
  /// listen.
  Status listen_tcp(const std::string& address);

  /// Unknown ids, for connections that have ended meanwhile: nothing.
  void send(Id id, std::string_view text);
  /// Closes it when everything has been sent.
  void finish(Id id);
  [[nodiscard]] bool alive(Id id) const { return connections_.contains(id); }
  /// The user at the other end of a Unix socket, as the kernel says; TCP: the overflow user.
  [[nodiscard]] uid_t uid(Id id) const;
  void tick(std::uint64_t now_ms);

 private:
  struct Connection {
    UniqueFd fd;
    Poller::Id watch = 0;
    uid_t uid = 65534;
    std::string in, out;
    bool finishing = false;
    std::uint64_t active_ms = 0;
  };
  Status listen_on(UniqueFd fd);
  void accept_some();
  void ready(Id id, std::uint32_t events);
  void close(Id id);
  bool flush(Id id, Connection& c);

  Poller& poller_;
  StreamLimits limits_;
  OnInput on_input_;
  UniqueFd listener_;
  Poller::Id listener_watch_ = 0;
  std::unordered_map<Id, Connection> connections_;
  Id next_ = 1;
  std::uint64_t now_ms_ = 0;
};

}  // namespace hpcvmm::daemon
