// Goal: messages arrive whole, descriptors included, and no inner address reaches the VMM.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <string>

#include "hpcvmm/base/unique_fd.hh"
#include "vmm/sys/passthrough.hh"
#include "vmm/sys/table.hh"
#include "vmm/sys/test_gate.hh"

namespace hpcvmm::sys {
namespace {

using test::g_issued;
using test::kFake;
using test::kReal;
using test::word;

constexpr std::uint64_t kOurs = kImageBase + 0x1000;

struct Pair {
  explicit Pair(int type) {
    int fds[2];
    EXPECT_EQ(::socketpair(AF_UNIX, type, 0, fds), 0);
    a = UniqueFd(fds[0]);
    b = UniqueFd(fds[1]);
  }
  UniqueFd a, b;
};
std::uint64_t reg(const UniqueFd& fd) { return static_cast<std::uint64_t>(fd.get()); }

struct Rights {
  alignas(cmsghdr) char bytes[CMSG_SPACE(sizeof(int))] = {};
  void put(msghdr& m, int fd) {
    m.msg_control = bytes;
    m.msg_controllen = sizeof bytes;
    cmsghdr* c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(c), &fd, sizeof fd);
  }
};

TEST(Message, CarriesADescriptor) {
  const Pair pair(SOCK_STREAM);
  char text[] = "take this";
  iovec iov{text, sizeof text};
  msghdr m{};
  m.msg_iov = &iov;
  m.msg_iovlen = 1;
  Rights out;
  out.put(m, 0);
  const UniqueFd file(::open("/dev/null", O_RDWR | O_CLOEXEC));
  out.put(m, file.get());
  EXPECT_EQ(pass_through(row_of(Call::sendmsg), Abi::X64, {reg(pair.a), word(&m)}, kReal).value(), 10);

  char got[32] = {};
  iovec in{got, sizeof got};
  Rights space;
  msghdr r{};
  r.msg_iov = &in;
  r.msg_iovlen = 1;
  r.msg_control = space.bytes;
  r.msg_controllen = sizeof space.bytes;
  r.msg_flags = -1;
  EXPECT_EQ(pass_through(row_of(Call::recvmsg), Abi::X64, {reg(pair.b), word(&r)}, kReal).value(), 10);
  EXPECT_STREQ(got, "take this");
  EXPECT_EQ(r.msg_flags, 0);
  EXPECT_EQ(r.msg_controllen, sizeof space.bytes);
  EXPECT_EQ(r.msg_iov, &in) << "the guest's own pointers must survive";
  const cmsghdr* c = CMSG_FIRSTHDR(&r);
  ASSERT_NE(c, nullptr);
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(c), sizeof fd);
  const UniqueFd received(fd);
  EXPECT_EQ(::write(received.get(), "x", 1), 1);
}

TEST(Message, HandsOutNoDescriptorOfTheVmm) {
  msghdr m{};
  Rights out;
  out.put(m, test::kHiddenFd);
  g_issued.count = 0;
  EXPECT_EQ(pass_through(row_of(Call::sendmsg), Abi::X64, {0, word(&m)}, kFake).value(), -EBADF);
  EXPECT_EQ(g_issued.count, 0);
}

TEST(Message, EveryInnerAddressIsChecked) {
  char text[4] = {};
  iovec good{text, 4};
  iovec bad{std::bit_cast<void*>(kOurs), 4};
  const auto with = [&](auto change) {
    mmsghdr m{};
    m.msg_hdr.msg_iov = &good;
    m.msg_hdr.msg_iovlen = 1;
    change(m.msg_hdr);
    g_issued.count = 0;
    for (const Call c : {Call::sendmsg, Call::recvmsg, Call::sendmmsg, Call::recvmmsg}) {
      const bool many = c == Call::sendmmsg || c == Call::recvmmsg;
      const SysRet r = pass_through(row_of(c), Abi::X64, {0, word(&m), many ? 1U : 0U}, kFake);
      EXPECT_EQ(r.value(), -EFAULT) << row_of(c).name;
    }
    EXPECT_EQ(g_issued.count, 0);
  };
  with([&](msghdr& m) { m.msg_iov = &bad; });
  with([&](msghdr& m) { m.msg_iov = std::bit_cast<iovec*>(kOurs); });
  with([&](msghdr& m) { m.msg_name = std::bit_cast<void*>(kOurs); });
  with([&](msghdr& m) {
    m.msg_control = std::bit_cast<void*>(kOurs);
    m.msg_controllen = 64;
  });
}

TEST(Message, TheSendersAddressComesBack) {
  const UniqueFd s(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const UniqueFd t(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un any{};
  any.sun_family = AF_UNIX;
  auto* sa = std::bit_cast<sockaddr*>(&any);
  ASSERT_EQ(::bind(s.get(), sa, sizeof(sa_family_t)), 0);  // autobind: an abstract name of 5 hex digits
  ASSERT_EQ(::bind(t.get(), sa, sizeof(sa_family_t)), 0);
  socklen_t len = sizeof any;
  ASSERT_EQ(::getsockname(t.get(), sa, &len), 0);
  ASSERT_EQ(::sendto(s.get(), "hi", 2, 0, sa, len), 2);
  char got[8] = {};
  iovec in{got, sizeof got};
  sockaddr_un from{};
  msghdr r{};
  r.msg_iov = &in;
  r.msg_iovlen = 1;
  r.msg_name = &from;
  r.msg_namelen = sizeof from;
  EXPECT_EQ(pass_through(row_of(Call::recvmsg), Abi::X64, {reg(t), word(&r)}, kReal).value(), 2);
  EXPECT_EQ(r.msg_namelen, sizeof(sa_family_t) + 6);
  EXPECT_EQ(from.sun_family, AF_UNIX);
}

// More messages than one batch, more iovecs than one batch has room for.
TEST(Message, ManyGoInBatches) {
  const Pair pair(SOCK_SEQPACKET);
  constexpr unsigned kCount = 40;
  constexpr unsigned kPieces = 100;
  std::array<mmsghdr, kCount> out{};
  std::array<std::array<iovec, kPieces>, kCount> iov{};
  std::array<char, kCount> letters{};
  for (unsigned i = 0; i < kCount; ++i) {
    letters[i] = static_cast<char>('0' + i);
    for (iovec& v : iov[i]) v = {&letters[i], 1};
    out[i].msg_hdr.msg_iov = iov[i].data();
    out[i].msg_hdr.msg_iovlen = kPieces;
  }
  const unsigned some = 38;  // two full batches and a short one for receiving, four of iovecs for sending
  const Args a{reg(pair.a), word(out.data()), some};
  EXPECT_EQ(pass_through(row_of(Call::sendmmsg), Abi::X64, a, kReal).value(), some);
  EXPECT_EQ(out[0].msg_len, kPieces);
  EXPECT_EQ(out[some - 1].msg_len, kPieces);

  std::array<mmsghdr, kCount> in{};
  std::array<std::array<char, 128>, kCount> got{};
  std::array<iovec, kCount> one{};
  for (unsigned i = 0; i < kCount; ++i) {
    one[i] = {got[i].data(), got[i].size()};
    in[i].msg_hdr.msg_iov = &one[i];
    in[i].msg_hdr.msg_iovlen = 1;
  }
  const Args b{reg(pair.b), word(in.data()), kCount, MSG_WAITFORONE};
  EXPECT_EQ(pass_through(row_of(Call::recvmmsg), Abi::X64, b, kReal).value(), some);
  for (unsigned i = 0; i < some; ++i) {
    EXPECT_EQ(in[i].msg_len, kPieces);
    EXPECT_EQ(got[i][0], letters[i]);
    EXPECT_EQ(got[i][kPieces - 1], letters[i]);
  }
  EXPECT_EQ(
      pass_through(row_of(Call::recvmmsg), Abi::X64, {reg(pair.b), word(in.data()), 4, MSG_DONTWAIT}, kReal)
          .value(),
      -EAGAIN);
}

TEST(Message, Ia32GoesToTheKernelAsItIs) {
  (void)pass_through(row_of(Call::sendmsg), Abi::Ia32, {3, 0x1000, 0}, kFake);
  EXPECT_EQ(g_issued.abi, Abi::Ia32);
  EXPECT_EQ(g_issued.nr, 370U);
  EXPECT_EQ(g_issued.args[1], 0x1000U);
}

}  // namespace
}  // namespace hpcvmm::sys
