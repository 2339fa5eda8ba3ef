// Socket options: flat values of `optlen` bytes, but for the few below.
#include <linux/filter.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "vmm/sys/deep.hh"

namespace hpcvmm::sys {
namespace {

constexpr int kSolTcp = 6, kSolSctp = 132, kSolPacket = 263, kSolRds = 276, kSolXdp = 283, kSolMptcp = 284;

// A classic BPF program: {u16 count; pointer}.
bool is_filter(int level, int name) {
  if (level == SOL_SOCKET) return name == SO_ATTACH_FILTER || name == SO_ATTACH_REUSEPORT_CBPF;
  constexpr int kPacketFanoutData = 22;
  return level == kSolPacket && name == kPacketFanoutData;
}

// Values that carry addresses nobody checks here.  Refused as options this kernel does not have.
bool is_refused(bool setting, int level, int name) {
  switch (level) {
    case IPPROTO_IP:  // iptables-, arptables- and ebtables-legacy
      return setting ? name == 64 || name == 65 || name == 96 || name == 97 || name == 128 || name == 129
                     : name >= 128 && name <= 131;
    case IPPROTO_IPV6: return setting && (name == 64 || name == 65);  // ip6tables-legacy
    case kSolTcp: return !setting && name == 35;                      // TCP_ZEROCOPY_RECEIVE
    case kSolSctp: return name == 110 || name == 111 || name == 107;  // connectx with an address list
    case kSolMptcp: return !setting && name == 4;                     // MPTCP_FULL_INFO
    case kSolRds:
    case kSolXdp: return true;  // registers user memory by address
    default: return false;
  }
}

SysRet pass_filter(const Passing& p) {
  if (p.abi == Abi::Ia32) return p.issue();
  sock_fprog program{};
  if ((p.args[4] & 0xffff'ffffU) != sizeof program) return SysRet::fail(EINVAL);
  if (!p.gate.copy_in(&program, p.args[3], sizeof program)) return SysRet::fail(EFAULT);
  if (forbidden(address_of(program.filter), program.len * sizeof(sock_filter))) return SysRet::fail(EFAULT);
  Args a = p.args;
  a[3] = address_of(&program);
  a[4] = sizeof program;
  return p.issue(a);
}

}  // namespace

SysRet pass_sockopt(const Passing& p) {
  const bool setting = p.row.call == Call::setsockopt;
  const auto level = static_cast<int>(p.args[1]);
  const auto name = static_cast<int>(p.args[2]);
  if (is_refused(setting, level, name)) return SysRet::fail(ENOPROTOOPT);
  return setting && is_filter(level, name) ? pass_filter(p) : p.issue();
}

}  // namespace hpcvmm::sys
