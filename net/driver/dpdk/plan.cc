// plan_port(): what a port's configuration leaves out, by kind of device.
#include <sys/un.h>

#include <algorithm>
#include <charconv>

#include "net/driver/dpdk/interface.hh"
#include "net/driver/dpdk/port.hh"

namespace hpcvmm::net::dpdk {
namespace {

constexpr std::uint32_t kJumboMtu = 9000;
constexpr std::uint32_t kPlainMtu = 1500;
// AF_PACKET (TPACKET_V2) puts its own header in front of a frame in the ring: received ones begin at 66, sent
// ones at 32.
constexpr std::uint32_t kPacketReceiveOffset = 66;
constexpr std::uint32_t kPacketSendOffset = 32;
// Of each ring; a power of two, as the number of frames in a block is.  A receiver that does not get the CPU
// for a few milliseconds loses nothing of what arrives at 250 000 pages/s.
constexpr std::uint32_t kPacketFrames = 1024;
// AF_XDP: an mbuf with its header (128) and headroom (128) must fit a page.
constexpr std::uint32_t kXdpBuffer = 4096 - 256;
constexpr std::uint32_t kXdpMtu = 3498;
constexpr std::uint32_t kMemifBuffer = 9088;
constexpr std::uint32_t kMemifLog2Ring = 8;

struct Planner {
  PortPlan plan;
  const std::function<void(std::string_view)>& warn;
  std::string& why;

  [[nodiscard]] std::string prefix() const { return "port " + plan.config.device + ": "; }
  void say(const std::string& text) const {
    if (warn) warn(prefix() + text);
  }
  Error refuse(const std::string& text) const {
    why = prefix() + text;
    return Error::of(EINVAL, "plan a DPDK port");
  }
  Result<std::string> need(const std::string& key, const std::string& example) const {
    const auto it = plan.config.keys.find(key);
    if (it == plan.config.keys.end()) return refuse("needs " + key + "=, such as " + key + "=" + example);
    return it->second;
  }
  void fill(const std::string& key, const std::string& value) { plan.config.keys.try_emplace(key, value); }
  /// A number among the keys, filled in if absent.
  Result<std::uint32_t> number(const std::string& key, std::uint32_t otherwise, std::uint32_t least,
                               std::uint32_t most) {
    fill(key, std::to_string(otherwise));
    const std::string& text = plan.config.keys[key];
    std::uint32_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || value < least || value > most)
      return refuse(key + "=" + text + ": should be a number from " + std::to_string(least) + " to " +
                    std::to_string(most));
    return value;
  }
};

Result<Interface> kernel_interface(Planner& p) {
  HPCVMM_TRY(const std::string name, p.need("iface", "eth1"));
  auto found = find_interface(name, p.why);
  if (!found) {
    p.why = p.prefix() + p.why;
    return found.error();
  }
  if (!found->is_up) p.say("interface " + name + " is down: ip link set " + name + " up");
  if (found->mtu < 4096 + 512)
    p.say("interface " + name + " has an MTU of " + std::to_string(found->mtu) +
          ": a page takes several frames; ip link set " + name +
          " mtu 9000 makes it one, where the wire can");
  return found;
}

Result<PortPlan> plan_af_packet(Planner& p) {
  HPCVMM_TRY(const Interface interface, kernel_interface(p));
  const std::uint32_t mtu = std::min(interface.mtu, kJumboMtu);
  // A multiple of 1024, so that few pages hold a whole number of frames: DPDK takes them to lie without gaps.
  const std::uint32_t wanted = (mtu + 14 + kPacketReceiveOffset + 1023) / 1024 * 1024;
  HPCVMM_TRY(const std::uint32_t frame, p.number("framesz", wanted, 1024, 65536));
  std::uint32_t block = frame;
  while (block % 4096 != 0) block += frame;
  p.fill("blocksz", std::to_string(block));
  p.fill("framecnt", std::to_string(kPacketFrames));
  p.fill("qdisc_bypass", "1");
  p.plan.frame_bytes = std::min(mtu + 14, frame - kPacketReceiveOffset);
  p.plan.buffer_bytes = frame - kPacketSendOffset;
  return p.plan;
}

Result<PortPlan> plan_af_xdp(Planner& p) {
  HPCVMM_TRY(const Interface interface, kernel_interface(p));
  if (interface.mtu > kXdpMtu)
    return p.refuse("AF_XDP takes an MTU of at most " + std::to_string(kXdpMtu) + ", the interface has " +
                    std::to_string(interface.mtu) + "; lower it, or use net_af_packet");
  p.plan.frame_bytes = interface.mtu + 14;
  p.plan.buffer_bytes = kXdpBuffer;
  return p.plan;
}

Result<PortPlan> plan_memif(Planner& p) {
  HPCVMM_TRY(const std::string role, p.need("role", "server (one end) and role=client (the other)"));
  if (role != "server" && role != "client") return p.refuse("role=" + role + ": should be server or client");
  HPCVMM_TRY(const std::string socket, p.need("socket", "/run/hpc-vmm/memif-1-2.sock"));
  if (socket.size() >= sizeof sockaddr_un::sun_path)
    return p.refuse("socket=" + socket + ": a socket's path has at most 107 characters");
  if (!p.plan.config.peer) return p.refuse("needs peer=, the IPv4 address of the node at its other end");
  // An abstract socket belongs to a network namespace, and these ports are between namespaces.
  p.fill("socket-abstract", "no");
  if (p.plan.config.keys["socket-abstract"] != "no") return p.refuse("socket-abstract: only no is supported");
  p.fill("zero-copy", "no");
  if (p.plan.config.keys["zero-copy"] != "no")
    return p.refuse("zero-copy: only no is supported; it gives a peer all of our memory, and is not faster");
  HPCVMM_TRY(const std::uint32_t buffer, p.number("bsize", kMemifBuffer, 256, 32768));
  HPCVMM_CHECK_OK(p.number("rsize", kMemifLog2Ring, 5, 14));
  p.plan.frame_bytes = buffer;
  p.plan.buffer_bytes = buffer;
  return p.plan;
}

Result<PortPlan> plan_other(Planner& p, std::uint32_t default_mtu) {
  HPCVMM_TRY(p.plan.mtu, p.number("mtu", default_mtu, 576, 16000));
  p.plan.config.keys.erase("mtu");  // ours, not the device's
  p.plan.frame_bytes = p.plan.mtu + 14;
  p.plan.buffer_bytes = (p.plan.frame_bytes + 8 + 63) / 64 * 64;  // two VLAN tags
  return p.plan;
}

}  // namespace

Result<PortPlan> plan_port(const PortConfig& config, const std::function<void(std::string_view)>& warn,
                           std::string& why) {
  Planner p{.plan = {.config = config}, .warn = warn, .why = why};
  const std::string kind = config.kind();
  if (kind == "net_af_packet") return plan_af_packet(p);
  if (kind == "net_af_xdp") return plan_af_xdp(p);
  if (kind == "net_memif") return plan_memif(p);
  return plan_other(p,
                    kind == "pci" || kind == "net_vhost" || kind == "virtio_user" || kind == "net_virtio_user"
                        ? kJumboMtu
                        : kPlainMtu);
}

}  // namespace hpcvmm::net::dpdk
