#include "daemon/test/vmm_client.hh"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>

namespace hpcvmm::daemon::test {

namespace local = wire::local;

local::Type FromHpcd::type() const {
  local::Header h{};
  if (bytes.size() >= sizeof h) std::memcpy(&h, bytes.data(), sizeof h);
  return h.type;
}

VmmClient::~VmmClient() {
  if (memory_ != nullptr) ::munmap(memory_, memory_bytes_);
}

std::optional<UniqueFd> VmmClient::connect(const std::string& run_dir) {
  const std::string path = run_dir + "/vmm.sock";
  sockaddr_un at{};
  at.sun_family = AF_UNIX;
  path.copy(at.sun_path, sizeof at.sun_path - 1);
  UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0) return std::nullopt;
  return fd;
}

bool VmmClient::send_bytes(const void* message, std::size_t bytes, int descriptor) {
  iovec vector{const_cast<void*>(message), bytes};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr m{};
  m.msg_iov = &vector;
  m.msg_iovlen = 1;
  if (descriptor >= 0) {
    m.msg_control = control.data();
    m.msg_controllen = control.size();
    cmsghdr* const c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof descriptor);
    std::memcpy(CMSG_DATA(c), &descriptor, sizeof descriptor);
  }
  return ::sendmsg(socket_.get(), &m, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes);
}

bool VmmClient::register_as(local::Role role, const char* comm) {
  local::Register r;
  r.role = role;
  r.pid = ::getpid();
  std::strncpy(r.comm, comm, sizeof r.comm - 1);
  std::strncpy(r.exe, "/usr/bin/test-vmm", sizeof r.exe - 1);
  return send(r);
}

std::optional<FromHpcd> VmmClient::receive(int timeout_ms) {
  pollfd p{socket_.get(), POLLIN, 0};
  if (ended_ || ::poll(&p, 1, timeout_ms) <= 0) return std::nullopt;
  FromHpcd out;
  out.bytes.resize(local::kMaxMessage);
  iovec vector{out.bytes.data(), out.bytes.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * 4)> control{};
  msghdr m{};
  m.msg_iov = &vector;
  m.msg_iovlen = 1;
  m.msg_control = control.data();
  m.msg_controllen = control.size();
  const ssize_t n = ::recvmsg(socket_.get(), &m, MSG_CMSG_CLOEXEC);
  if (n <= 0) {
    ended_ = true;
    return std::nullopt;
  }
  for (cmsghdr* c = CMSG_FIRSTHDR(&m); c != nullptr; c = CMSG_NXTHDR(&m, c)) {
    if (c->cmsg_type != SCM_RIGHTS) continue;
    for (std::size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
      out.descriptors.emplace_back(fd);
    }
  }
  out.bytes.resize(static_cast<std::size_t>(n));
  return out;
}

std::optional<FromHpcd> VmmClient::wait_for(local::Type type, int timeout_ms) {
  while (auto message = receive(timeout_ms)) {
    if (message->type() == local::Type::Attach && !attach(*message)) return std::nullopt;
    if (message->type() == type) return message;
  }
  return std::nullopt;
}

bool VmmClient::attach(FromHpcd& message) {
  if (message.descriptors.size() != 3) return false;
  const auto a = message.as<local::Attach>();
  const std::size_t each = local::ring_memory(a.ring_bytes);
  memory_bytes_ = each * 4;
  void* const at =
      ::mmap(nullptr, memory_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, message.descriptors[0].get(), 0);
  if (at == MAP_FAILED) return false;
  memory_ = at;
  wake_me_ = std::move(message.descriptors[1]);
  wake_hpcd_ = std::move(message.descriptors[2]);
  auto* const base = static_cast<std::byte*>(at);
  for (std::size_t lane = 0; lane < 2; ++lane) {
    out_[lane] = local::Producer(base + lane * each, a.ring_bytes);
    in_[lane] = local::Consumer(base + (2 + lane) * each, a.ring_bytes);
  }
  return true;
}

bool VmmClient::put(bool urgent, std::uint32_t channel, const std::vector<std::byte>& payload) {
  local::Producer& ring = out_[urgent ? 0 : 1];
  std::byte* to = nullptr;
  for (int i = 0; (to = ring.reserve(channel, static_cast<std::uint32_t>(payload.size()))) == nullptr; ++i) {
    if (i == 10'000 || ring.broken()) return false;
    ::usleep(100);
  }
  std::memcpy(to, payload.data(), payload.size());
  if (ring.publish()) {
    const std::uint64_t one = 1;
    static_cast<void>(!::write(wake_hpcd_.get(), &one, sizeof one));
  }
  return true;
}

bool VmmClient::get(bool urgent, std::uint32_t& channel, std::vector<std::byte>& payload) {
  local::Consumer& ring = in_[urgent ? 0 : 1];
  local::Consumer::View v;
  if (memory_ == nullptr || !ring.peek(v)) return false;
  channel = v.channel;
  payload.assign(v.data, v.data + v.bytes);
  ring.pop();
  return true;
}

void VmmClient::wait(int timeout_ms) {
  bool sleeps = true;
  if (memory_ != nullptr)
    for (auto& ring : in_) sleeps = ring.prepare_sleep() && sleeps;
  pollfd p[2] = {{socket_.get(), POLLIN, 0}, {wake_me_.get(), POLLIN, 0}};
  if (sleeps) ::poll(p, memory_ != nullptr ? 2 : 1, timeout_ms);
  if (memory_ == nullptr) return;
  for (auto& ring : in_) ring.wake();
  std::uint64_t count = 0;
  if ((p[1].revents & POLLIN) != 0) static_cast<void>(!::read(wake_me_.get(), &count, sizeof count));
}

void VmmClient::break_ring(bool urgent) {
  const std::size_t each = memory_bytes_ / 4;
  auto* const words =
      reinterpret_cast<local::RingWords*>(static_cast<std::byte*>(memory_) + (urgent ? 0 : each));
  words->head.store(~std::uint64_t{0} - 7);
  const std::uint64_t one = 1;
  static_cast<void>(!::write(wake_hpcd_.get(), &one, sizeof one));
}

}  // namespace hpcvmm::daemon::test
