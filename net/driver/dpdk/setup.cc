// How a DPDK driver comes to be: checks, ports, memory, descriptors.
#include <rte_errno.h>
#include <rte_mbuf.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <atomic>

#include "net/driver/dpdk/dpdk_driver.hh"
#include "net/driver/dpdk/driver_impl.hh"
#include "net/driver/dpdk/eal.hh"
#include "net/driver/dpdk/interface.hh"

namespace hpcvmm::net::dpdk {
namespace {

// What may lie in a caller's hands and in a device's rings at once.
constexpr unsigned kTransmitBuffers = 2048;
constexpr unsigned kReceiveBuffers = 2048;
constexpr unsigned kPoolCache = 256;

}  // namespace

Result<Pool> Pool::create(unsigned count, std::uint32_t buffer_bytes, std::string& why) {
  static std::atomic<unsigned> number{0};
  const std::string name = "hpcvmm_" + std::to_string(number++);
  const auto room =
      static_cast<std::uint16_t>(std::min<std::uint32_t>(buffer_bytes + RTE_PKTMBUF_HEADROOM, 65535));
  rte_mempool* const pool = rte_pktmbuf_pool_create(name.c_str(), count, kPoolCache, 0, room, SOCKET_ID_ANY);
  if (pool != nullptr) return Pool(pool);
  const int code = rte_errno > 0 ? rte_errno : ENOMEM;
  why = "DPDK has no memory for " + std::to_string(count) + " buffers of " + std::to_string(room) + " bytes" +
        take_eal_messages() + "; give it more (memory_mib)";
  return Error::of(code, "rte_pktmbuf_pool_create");
}

Pool::~Pool() { rte_mempool_free(pool_); }

Status DpdkDriver::check_config(std::string& why) const {
  const auto refuse = [&](const std::string& text) {
    why = text;
    return Error::of(EINVAL, "configure a DPDK driver");
  };
  if (!config_.address.is_v4() || config_.address.port == 0 || config_.address.v4() == 0)
    return refuse("address " + config_.address.text() +
                  ": the DPDK driver needs an IPv4 address with a port");
  if (config_.prefix_bits > 32) return refuse("prefix_bits should be 0 to 32");
  if (config_.ports.empty()) return refuse("no DPDK port is configured; try net_af_packet0,iface=eth1");
  const auto without_peer = std::count_if(config_.ports.begin(), config_.ports.end(),
                                          [](const PortConfig& port) { return !port.peer; });
  if (without_peer > 1)
    return refuse("two ports without peer=: one at most may lead to a network, the others need peer=IP");
  return Unit{};
}

Status DpdkDriver::plan(std::vector<PortPlan>& plans, std::string& why) {
  constexpr auto kHeaders = static_cast<std::uint32_t>(kHeaderBytes);
  std::uint32_t frame = (config_.max_payload != 0 ? config_.max_payload : kDefaultPayload) + kHeaders;
  for (const PortConfig& port : config_.ports) {
    HPCVMM_TRY(PortPlan plan, plan_port(port, config_.warn, why));
    frame = std::min(frame, plan.frame_bytes);
    name_ += (name_.empty() ? "dpdk:" : "+") + port.kind();
    plans.push_back(std::move(plan));
  }
  if (frame < 576) {
    why = "max_payload or a port's buffers are too small: a frame would have " + std::to_string(frame) +
          " bytes";
    return Error::of(EINVAL, "configure a DPDK driver");
  }
  max_payload_ = frame - kHeaders;
  return Unit{};
}

Status DpdkDriver::open_lines(const std::vector<PortPlan>& plans, std::string& why) {
  HPCVMM_TRY(transmit_pool_, Pool::create(kTransmitBuffers, frame_bytes(), why));
  for (const PortPlan& plan : plans) {
    auto line = std::make_unique<Line>();
    HPCVMM_TRY(line->pool, Pool::create(kReceiveBuffers, plan.buffer_bytes, why));
    HPCVMM_TRY(line->port, Port::create(plan, line->pool.get(), why));
    line->to_one_peer = plan.config.peer.has_value();
    const std::uint32_t ip = config_.address.v4();
    line->us = {
        .mac = line->to_one_peer ? mac_of(ip) : line->port->mac(), .ip = ip, .port = config_.address.port};
    for (const int fd : line->port->wait_fds()) wait_fds_.push_back(fd);
    if (line->port->wait_fds().empty() && config_.warn)
      config_.warn("port " + plan.config.device +
                   ": cannot wake a sleeper; it is looked at every millisecond");
    if (line->to_one_peer)
      peers_[*plan.config.peer] = line.get();
    else
      net_ = line.get();
    lines_.push_back(std::move(line));
  }
  return Unit{};
}

Status DpdkDriver::open_timer() {
  timer_ = UniqueFd(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!timer_) return Error::last("timerfd_create");
  wait_fds_.push_back(timer_.get());
  return Unit{};
}

Status DpdkDriver::open(std::string& why) {
  HPCVMM_CHECK_OK(check_config(why));
  std::vector<PortPlan> plans;
  HPCVMM_CHECK_OK(plan(plans, why));
  // The kernel reads an interface beside AF_PACKET; AF_XDP and a card's own driver keep it out.
  const auto beside = [](const PortPlan& plan) { return plan.config.kind() == "net_af_packet"; };
  if (std::any_of(plans.begin(), plans.end(), beside)) {
    HPCVMM_TRY(UniqueFd guard, guard_port(config_.address, why));
    if (guard) guards_.push_back(std::move(guard));
  }
  HPCVMM_CHECK_OK(start_eal(config_, why));
  HPCVMM_CHECK_OK(open_lines(plans, why));
  HPCVMM_CHECK_OK(open_timer());
  // Tells the neighbours at once: one that knew us with another address would go on using it.
  if (net_ != nullptr) ask(*net_, config_.address.v4(), kBroadcast);
  return Unit{};
}

Result<std::unique_ptr<Driver>> make_dpdk_driver(const DriverConfig& config, const Clock& clock,
                                                 std::string& why) {
  auto driver = std::make_unique<DpdkDriver>(config, clock);
  why.clear();
  if (auto status = driver->open(why); !status) {
    if (why.empty()) why = status.error().op;
    return status.error();
  }
  return std::unique_ptr<Driver>(std::move(driver));
}

}  // namespace hpcvmm::net::dpdk
