// A VMM process's end of the conversation with hpcd (wire/local.hh), for tests: what it says and gets,
// without a VMM.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "hpcvmm/base/unique_fd.hh"
#include "hpcvmm/wire/ring.hh"

namespace hpcvmm::daemon::test {

/// One message of hpcd, with the descriptors beside it.
struct FromHpcd {
  std::vector<std::byte> bytes;
  std::vector<UniqueFd> descriptors;
  [[nodiscard]] wire::local::Type type() const;
  template <class T> [[nodiscard]] T as() const {
    T m;
    std::memcpy(static_cast<void*>(&m), bytes.data(), bytes.size() < sizeof m ? bytes.size() : sizeof m);
    return m;
  }
};

class VmmClient {
 public:
  /// `fd`: a connection to hpcd.
  explicit VmmClient(UniqueFd fd) : socket_(std::move(fd)) {}
  VmmClient(const VmmClient&) = delete;
  VmmClient& operator=(const VmmClient&) = delete;
  ~VmmClient();
  /// Connects to vmm.sock in `run_dir`; nothing: it is not there.
  static std::optional<UniqueFd> connect(const std::string& run_dir);

  template <class T> bool send(const T& message, int descriptor = -1) {
    return send_bytes(&message, sizeof message, descriptor);
  }
  bool register_as(wire::local::Role role, const char* comm = "test");
  /// The next message; nothing: none in that time, or the connection has ended (ended()).
  std::optional<FromHpcd> receive(int timeout_ms);
  /// Waits for a message of that type, attaching rings on the way.
  std::optional<FromHpcd> wait_for(wire::local::Type type, int timeout_ms);
  [[nodiscard]] bool ended() const { return ended_; }
  [[nodiscard]] int socket() const { return socket_.get(); }

  bool attach(FromHpcd& message);
  [[nodiscard]] bool attached() const { return memory_ != nullptr; }
  /// Writes a record; false: no room within a second.
  bool put(bool urgent, std::uint32_t channel, const std::vector<std::byte>& payload);
  /// The next record of a ring; false: none.
  bool get(bool urgent, std::uint32_t& channel, std::vector<std::byte>& payload);
  /// Waits until a ring may have something, a message may be there, or the time is over.
  void wait(int timeout_ms);
  /// Makes the words of a ring senseless.
  void break_ring(bool urgent);

 private:
  bool send_bytes(const void* message, std::size_t bytes, int descriptor);

  UniqueFd socket_, wake_me_, wake_hpcd_;
  void* memory_ = nullptr;
  std::size_t memory_bytes_ = 0;
  wire::local::Producer out_[2];
  wire::local::Consumer in_[2];
  bool ended_ = false;
};

}  // namespace hpcvmm::daemon::test
