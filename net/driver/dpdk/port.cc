#include "net/driver/dpdk/port.hh"

#include <rte_alarm.h>
#include <rte_bus_vdev.h>
#include <rte_ethdev.h>
#include <rte_interrupts.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "net/driver/dpdk/eal.hh"

namespace hpcvmm::net::dpdk {
namespace {

constexpr std::uint16_t kDescriptors = 1024;
constexpr int kAfXdp = 44;
constexpr auto kAnySocket = static_cast<unsigned>(SOCKET_ID_ANY);
// While a memif port has no peer: how often both ends look.
constexpr Nanos kLookOften = 20 * kMillisecond;
constexpr Nanos kLookSeldom = 100 * kMillisecond;
constexpr Nanos kOftenFor = 500 * kMillisecond;
/// A try to connect that led to nothing is given up after this.
constexpr Nanos kTryFor = 1 * kSecond;

/// Descriptors of this process that are sockets of a PMD: AF_PACKET or AF_XDP.
std::vector<int> packet_sockets() {
  std::vector<int> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    const int fd = std::atoi(entry.path().filename().c_str());
    int domain = 0;
    socklen_t bytes = sizeof domain;
    if (::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &bytes) != 0) continue;
    if (domain == AF_PACKET || domain == kAfXdp) found.push_back(fd);
  }
  return found;
}

Error dpdk_error(int rc, const char* op, const std::string& device, std::string& why) {
  const int code = rc < 0 ? -rc : EIO;
  why = "port " + device + ": " + op + ": " + std::generic_category().message(code) + take_eal_messages();
  return Error::of(code, op);
}

/// Removes the socket that a server which was killed has left; whoever holds the bell's lock is the only
/// server.
Status remove_stale_socket(const std::string& path, std::string& why) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return Unit{};
  if (!S_ISSOCK(status.st_mode)) {
    why = path + ": exists and is not a socket; remove it or choose another path";
    return Error::of(EEXIST, "bind a memif socket");
  }
  if (::unlink(path.c_str()) != 0) return Error::last("unlink a memif socket");
  return Unit{};
}

bool link_is_up(std::uint16_t id) {
  rte_eth_link link{};
  return rte_eth_link_get_nowait(id, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

}  // namespace

Result<std::unique_ptr<Port>> Port::create(const PortPlan& plan, rte_mempool* receive_pool,
                                           std::string& why) {
  std::unique_ptr<Port> port(new Port(plan.config, receive_pool));
  auto& keys = port->config_.keys;
  port->is_memif_ = port->config_.kind() == "net_memif";
  if (port->is_memif_) {
    port->is_client_ = keys["role"] == "client";
    HPCVMM_TRY(Bell bell, Bell::open(keys["socket"], port->is_client_ ? 1 : 0, plan.buffer_bytes, why));
    port->bell_.emplace(std::move(bell));
    port->seen_beat_ = port->bell_->others_beat();
    if (!port->is_client_) HPCVMM_CHECK_OK(remove_stale_socket(keys["socket"], why));
  }
  take_eal_messages();
  const std::vector<int> before = packet_sockets();
  HPCVMM_CHECK_OK(port->probe(why));
  HPCVMM_CHECK_OK(port->set_up(plan, why));
  HPCVMM_CHECK_OK(port->start(why));
  port->find_wait_fds(before);
  rte_ether_addr address{};
  if (port->config_.peer || rte_eth_macaddr_get(port->id_, &address) != 0)
    port->mac_ = {};
  else
    std::memcpy(port->mac_.data(), address.addr_bytes, port->mac_.size());
  return port;
}

Status Port::probe(std::string& why) {
  if (config_.kind() != "pci") {
    std::string args = config_.devargs().substr(config_.device.size());
    if (!args.empty()) args.erase(0, 1);
    const int rc = rte_vdev_init(config_.device.c_str(), args.c_str());
    if (rc != 0) return dpdk_error(rc, "DPDK does not make it", config_.device, why);
  }
  const int rc = rte_eth_dev_get_port_by_name(config_.device.c_str(), &id_);
  if (rc != 0) {
    const Error error = dpdk_error(rc, "DPDK has no such port", config_.device, why);
    if (config_.kind() == "pci")
      why += "; bind the card to vfio-pci (dpdk-devbind.py -b vfio-pci " + config_.device +
             "), full PCI address with domain, and link its driver (HPCVMM_DPDK_PMDS)";
    return error;
  }
  is_probed_ = true;
  return Unit{};
}

Status Port::set_up(const PortPlan& plan, std::string& why) {
  const std::string& name = config_.device;
  rte_eth_dev_info info{};
  int rc = rte_eth_dev_info_get(id_, &info);
  if (rc != 0) return dpdk_error(rc, "rte_eth_dev_info_get", name, why);
  rte_eth_conf conf{};
  if (plan.mtu != 0 && plan.mtu > info.max_mtu && info.max_mtu != 0) {
    why = "port " + name + ": takes an MTU of at most " + std::to_string(info.max_mtu) +
          "; set mtu=" + std::to_string(info.max_mtu);
    return Error::of(EINVAL, "a port's MTU");
  }
  // Virtual devices report what they do not mean (1518 for rings of any size): their MTU is left alone.
  if (config_.kind() == "pci") conf.rxmode.mtu = plan.mtu;
  const bool may_interrupt =
      !is_memif_ && config_.kind() != "net_af_packet" && config_.kind() != "net_af_xdp";
  conf.intr_conf.rxq = may_interrupt ? 1 : 0;
  rc = rte_eth_dev_configure(id_, 1, 1, &conf);
  if (rc != 0) return dpdk_error(rc, "rte_eth_dev_configure", name, why);
  std::uint16_t receive = kDescriptors;
  std::uint16_t transmit = kDescriptors;
  rte_eth_dev_adjust_nb_rx_tx_desc(id_, &receive, &transmit);
  rc = rte_eth_rx_queue_setup(id_, 0, receive, kAnySocket, nullptr, pool_);
  if (rc != 0) return dpdk_error(rc, "rte_eth_rx_queue_setup", name, why);
  rc = rte_eth_tx_queue_setup(id_, 0, transmit, kAnySocket, nullptr);
  if (rc != 0) return dpdk_error(rc, "rte_eth_tx_queue_setup", name, why);
  has_interrupt_ = may_interrupt;
  return Unit{};
}

Status Port::start(std::string& why) {
  int rc = rte_eth_dev_start(id_);
  if (rc != 0 && has_interrupt_) {
    // Some devices refuse receive interrupts only now.
    has_interrupt_ = false;
    rte_eth_conf conf{};
    rc = rte_eth_dev_configure(id_, 1, 1, &conf);
    if (rc == 0) rc = rte_eth_dev_start(id_);
  }
  is_started_ = rc == 0;
  // A memif client whose server is not there yet: tend() tries again.
  if (rc != 0 && !is_client_) return dpdk_error(rc, "DPDK does not start it", config_.device, why);
  is_up_ = !is_memif_;
  return Unit{};
}

void Port::find_wait_fds(const std::vector<int>& before) {
  if (bell_) {
    wait_fds_.push_back(bell_->fd());
    return;
  }
  for (const int fd : packet_sockets())
    if (std::find(before.begin(), before.end(), fd) == before.end()) wait_fds_.push_back(fd);
  if (!wait_fds_.empty() || !has_interrupt_) return;
  const int fd = rte_eth_dev_rx_intr_ctl_q_get_fd(id_, 0);
  has_interrupt_ = fd >= 0;
  if (fd >= 0) wait_fds_.push_back(fd);
}

Port::~Port() {
  if (!is_probed_) return;
  while (reconnecting_.load(std::memory_order_acquire)) ::usleep(1000);
  on_interrupt_thread([this] {
    if (is_started_) rte_eth_dev_stop(id_);
    rte_eth_dev_close(id_);
    if (config_.kind() != "pci") rte_vdev_uninit(config_.device.c_str());
  });
}

std::uint16_t Port::receive(std::span<rte_mbuf*> bufs) {
  if (!is_up_) return 0;
  const auto most = static_cast<std::uint16_t>(bufs.size());
  if (!is_memif_) return rte_eth_rx_burst(id_, 0, bufs.data(), most);
  lock_.lock();
  const std::uint16_t n = rte_eth_rx_burst(id_, 0, bufs.data(), most);
  lock_.unlock();
  if (n != 0) bell_->ring(Bell::kSpace);
  return n;
}

std::uint16_t Port::send(std::span<rte_mbuf*> bufs) {
  if (!is_up_) return 0;
  const auto count = static_cast<std::uint16_t>(bufs.size());
  if (!is_memif_) return rte_eth_tx_burst(id_, 0, bufs.data(), count);
  lock_.lock();
  std::uint16_t n = rte_eth_tx_burst(id_, 0, bufs.data(), count);
  if (n < count) {
    // Announced first, tried again after: the peer may have made room in between and not have seen that we
    // wait.
    bell_->want(Bell::kSpace);
    n = static_cast<std::uint16_t>(
        n + rte_eth_tx_burst(id_, 0, bufs.data() + n, static_cast<std::uint16_t>(count - n)));
  }
  lock_.unlock();
  if (n != 0) bell_->ring(Bell::kArrival);
  return n;
}

Nanos Port::tend(Nanos now) { return is_memif_ ? tend_memif(now) : kNever; }

Nanos Port::tend_memif(Nanos now) {
  if (reconnecting_.load(std::memory_order_acquire)) return now + kLookOften;
  const bool up = is_started_ && link_is_up(id_);
  if (up && (is_up_ || came_up())) return kNever;
  if (is_up_ || down_since_ == 0) down_since_ = now;
  is_up_ = false;
  bell_->beat();
  bell_->ring(Bell::kArrival);  // a sleeping peer may not have noticed that the link is down
  // Only a server that has moved since the last try is tried again: connecting to one that is stopped would
  // block DPDK's interrupt thread, and with it the links to all others.
  const std::uint32_t beat = bell_->others_beat();
  const bool may_try = !is_started_ || now >= next_try_;  // a try that is under way gets its time
  if (is_client_ && may_try && beat != seen_beat_) {
    seen_beat_ = beat;
    next_try_ = now + kTryFor;
    reconnect();
  }
  return now + (now - down_since_ < kOftenFor ? kLookOften : kLookSeldom);
}

/// The link is up: may it be used?
bool Port::came_up() {
  const std::uint32_t ours = static_cast<std::uint32_t>(std::atoi(config_.keys["bsize"].c_str()));
  // DPDK's server copies what the client's descriptors say into buffers of its own size, unchecked.
  if (bell_->others_buffer() != ours) {
    ++counters_.mismatches;
    return false;
  }
  is_up_ = true;
  down_since_ = 0;
  next_try_ = 0;
  ++counters_.ups;
  // A client's first receive hands its buffers to the server, which could not send before; it may be waiting.
  bell_->ring(Bell::kArrival | Bell::kSpace);
  return true;
}

void Port::reconnect() {
  ++counters_.reconnects;
  reconnecting_ = true;
  const auto work = [](void* argument) {
    auto& port = *static_cast<Port*>(argument);
    if (port.is_started_) rte_eth_dev_stop(port.id_);
    port.is_started_ = rte_eth_dev_start(port.id_) == 0;
    port.reconnecting_.store(false, std::memory_order_release);
  };
  if (rte_eal_alarm_set(1, work, this) != 0) reconnecting_ = false;
}

void Port::arm() {
  if (bell_) bell_->want(Bell::kArrival);
  if (has_interrupt_) rte_eth_dev_rx_intr_enable(id_, 0);
}

void Port::disarm() {
  if (bell_) {
    bell_->unwant(Bell::kArrival | Bell::kSpace);
    bell_->drain();
  }
  if (has_interrupt_) {
    rte_eth_dev_rx_intr_disable(id_, 0);
    std::uint64_t count = 0;
    for (const int fd : wait_fds_) static_cast<void>(::read(fd, &count, sizeof count));
  }
}

}  // namespace hpcvmm::net::dpdk
