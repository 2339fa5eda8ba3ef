// Transport::Impl: the peers, their handshakes, and the pass over all of them.
#pragma once

#include <array>
#include <memory>
#include <unordered_map>
#include <vector>

#include "net/transport/core.hh"
#include "net/transport/peer.hh"

namespace hpcvmm::net {

class Transport::Impl {
 public:
  Impl(const Config& config, Driver& driver, const Clock& clock, Handler& handler);
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl();

  Status add_peer(NodeId node, const Address& address, Reach reach);
  Status connect(NodeId node, bool wanted);
  Status send_loose(const Address& to, Part bytes);
  Status remove_peer(NodeId node);
  [[nodiscard]] Peer* find(NodeId node) const;
  void set_interest(NodeId node, bool interested);
  Status send(NodeId node, std::uint32_t channel, Priority priority, std::span<const Part> parts,
              bool borrowed, std::uint64_t token);
  void resume(NodeId node, Priority priority);
  Nanos poll();
  void flush();
  [[nodiscard]] const Core& core() const { return core_; }

 private:
  /// What a session number of ours stands for.
  struct Id {
    enum class What : std::uint8_t { Live, Half, Attempt } what = What::Live;
    Peer* peer = nullptr;
  };
  static constexpr std::size_t kReceiveBurst = 32;

  void touch(Peer& peer);
  std::uint32_t new_id(Peer& peer, Id::What what);
  bool receive_burst(Nanos now);
  void take(RxPacket& packet, Nanos now);
  void take_data(std::span<std::byte> packet, Nanos now);
  void take_init(std::span<const std::byte> packet, const Address& from, Nanos now);
  void take_answer(std::span<const std::byte> packet, Nanos now);
  bool answer_again(Peer& peer, const InitSeen& init);
  [[nodiscard]] static bool afford_handshake(Peer& peer, Nanos now);
  [[nodiscard]] static bool insists(const Peer& peer, const Hello& other, Nanos now);
  void answer(Peer& peer, const InitSeen& init, Nanos now);
  void unknown(NodeId node, const Address& from, Nanos now);
  void send_handshake(const Peer& peer, const HandshakePacket& packet);
  void try_to_reach(Peer& peer, Nanos now);
  void forget_attempt(Peer& peer);
  void forget_half(Peer& peer, std::size_t i);
  void expire_half(Peer& peer, Nanos now);
  void establish(Peer& peer, const Hello& hello, std::uint32_t local_id, std::unique_ptr<SessionKeys> keys,
                 Nanos now);
  bool promote(Peer& peer, std::span<std::byte> packet, const Header& header, Nanos now);
  void end_session(Peer& peer, DownReason reason, Nanos now);
  bool serve(Peer& peer, Nanos now);
  void bury();
  void excuse(Nanos now);

  Core core_;
  ClusterSecret secret_;
  std::unordered_map<NodeId, std::unique_ptr<Peer>> peers_;
  std::unordered_map<std::uint32_t, Id> ids_;
  PeerHeap heap_;
  std::vector<Peer*> touched_;
  std::vector<Peer*> serving_;
  std::vector<std::unique_ptr<Peer>> graveyard_;
  bool polling_ = false;
  std::uint64_t sessions_ = 0;
  Nanos promised_ = kNever;
  Nanos unknown_told_ = 0;
  std::array<RxPacket, kReceiveBurst> rx_{};
};

}  // namespace hpcvmm::net
