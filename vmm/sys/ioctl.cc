// ioctl: the sub-table.  Three questions per request: is the argument a pointer, how long is what it points
// to, and are there addresses inside.  Numbers are those of
// Documentation/userspace-api/ioctl/ioctl-number.rst.
#include "vmm/sys/ioctl.hh"

#include <span>

#include "vmm/sys/deep.hh"

namespace hpcvmm::sys {
namespace {

using R = IoctlRule;

// Sorted by number.
constexpr IoctlRow kRequests[] = {
    {0x0707, "I2C_RDWR", R::Refuse},
    {0x0720, "I2C_SMBUS", R::Refuse},
    {0x125d, "BLKROSET", R::Flat, 4},
    {0x125e, "BLKROGET", R::Flat, 4},
    {0x125f, "BLKRRPART", R::Value},
    {0x1260, "BLKGETSIZE", R::Flat, 8},
    {0x1261, "BLKFLSBUF", R::Value},
    {0x1262, "BLKRASET", R::Value},
    {0x1263, "BLKRAGET", R::Flat, 8},
    {0x1268, "BLKSSZGET", R::Flat, 4},
    {0x1269, "BLKPG", R::Inner, 24, 16},
    {0x127b, "BLKPBSZGET", R::Flat, 4},
    {0x2200, "", R::Refuse, 0, 0, 0x22ff},  // SCSI generic: SG_IO and its kin carry buffers
    {0x4b31, "KDMKTONE", R::Value},
    {0x4b33, "KDGKBTYPE", R::Flat, 1},
    {0x4b3a, "KDSETMODE", R::Value},
    {0x4b3b, "KDGETMODE", R::Flat, 4},
    {0x4b44, "KDGKBMODE", R::Flat, 4},
    {0x4b45, "KDSKBMODE", R::Value},
    {0x4b66, "GIO_UNIMAP", R::Inner, 16, 8},
    {0x4b67, "PIO_UNIMAP", R::Inner, 16, 8},
    {0x4b72, "KDFONTOP", R::Inner, 32, 24},
    {0x4c00, "LOOP_SET_FD", R::Fd},
    {0x4c01, "LOOP_CLR_FD", R::Value},
    {0x4c02, "LOOP_SET_STATUS", R::Flat, 168},
    {0x4c03, "LOOP_GET_STATUS", R::Flat, 168},
    {0x4c04, "LOOP_SET_STATUS64", R::Flat, 232},
    {0x4c05, "LOOP_GET_STATUS64", R::Flat, 232},
    {0x4c06, "LOOP_CHANGE_FD", R::Fd},
    {0x4c07, "LOOP_SET_CAPACITY", R::Value},
    {0x4c08, "LOOP_SET_DIRECT_IO", R::Value},
    {0x4c09, "LOOP_SET_BLOCK_SIZE", R::Value},
    {0x4c0a, "LOOP_CONFIGURE", R::Flat, 304},
    {0x4c80, "LOOP_CTL_ADD", R::Value},
    {0x4c81, "LOOP_CTL_REMOVE", R::Value},
    {0x4c82, "LOOP_CTL_GET_FREE", R::Value},
    {0x530e, "CDROMREADAUDIO", R::Refuse},
    {0x5393, "CDROM_SEND_PACKET", R::Refuse},
    {0x5401, "TCGETS", R::Flat, 36},
    {0x5402, "TCSETS", R::Flat, 36},
    {0x5403, "TCSETSW", R::Flat, 36},
    {0x5404, "TCSETSF", R::Flat, 36},
    {0x5405, "TCGETA", R::Flat, 18},
    {0x5406, "TCSETA", R::Flat, 18},
    {0x5407, "TCSETAW", R::Flat, 18},
    {0x5408, "TCSETAF", R::Flat, 18},
    {0x5409, "TCSBRK", R::Value},
    {0x540a, "TCXONC", R::Value},
    {0x540b, "TCFLSH", R::Value},
    {0x540c, "TIOCEXCL", R::Value},
    {0x540d, "TIOCNXCL", R::Value},
    {0x540e, "TIOCSCTTY", R::Value},
    {0x540f, "TIOCGPGRP", R::Flat, 4},
    {0x5410, "TIOCSPGRP", R::Flat, 4},
    {0x5411, "TIOCOUTQ", R::Flat, 4},
    {0x5412, "TIOCSTI", R::Flat, 1},
    {0x5413, "TIOCGWINSZ", R::Flat, 8},
    {0x5414, "TIOCSWINSZ", R::Flat, 8},
    {0x5415, "TIOCMGET", R::Flat, 4},
    {0x5416, "TIOCMBIS", R::Flat, 4},
    {0x5417, "TIOCMBIC", R::Flat, 4},
    {0x5418, "TIOCMSET", R::Flat, 4},
    {0x5419, "TIOCGSOFTCAR", R::Flat, 4},
    {0x541a, "TIOCSSOFTCAR", R::Flat, 4},
    {0x541b, "FIONREAD", R::Flat, 4},
    {0x541c, "TIOCLINUX", R::Flat, 16},
    {0x541d, "TIOCCONS", R::Value},
    {0x541e, "TIOCGSERIAL", R::Flat, 72},
    {0x541f, "TIOCSSERIAL", R::Flat, 72},
    {0x5420, "TIOCPKT", R::Flat, 4},
    {0x5421, "FIONBIO", R::Flat, 4},
    {0x5422, "TIOCNOTTY", R::Value},
    {0x5423, "TIOCSETD", R::Flat, 4},
    {0x5424, "TIOCGETD", R::Flat, 4},
    {0x5425, "TCSBRKP", R::Value},
    {0x5427, "TIOCSBRK", R::Value},
    {0x5428, "TIOCCBRK", R::Value},
    {0x5429, "TIOCGSID", R::Flat, 4},
    {0x5437, "TIOCVHANGUP", R::Value},
    {0x5441, "TIOCGPTPEER", R::Value},
    {0x5450, "FIONCLEX", R::Value},
    {0x5451, "FIOCLEX", R::Value},
    {0x5452, "FIOASYNC", R::Flat, 4},
    {0x5460, "FIOQSIZE", R::Flat, 8},
    {0x5600, "VT_OPENQRY", R::Flat, 4},
    {0x5601, "VT_GETMODE", R::Flat, 8},
    {0x5602, "VT_SETMODE", R::Flat, 8},
    {0x5603, "VT_GETSTATE", R::Flat, 6},
    {0x5606, "VT_ACTIVATE", R::Value},
    {0x5607, "VT_WAITACTIVE", R::Value},
    {0x7213, "KCOV_INIT_TRACE", R::Refuse},
    {0x8901, "FIOSETOWN", R::Flat, 4},
    {0x8902, "SIOCSPGRP", R::Flat, 4},
    {0x8903, "FIOGETOWN", R::Flat, 4},
    {0x8904, "SIOCGPGRP", R::Flat, 4},
    {0x8905, "SIOCATMARK", R::Flat, 4},
    {0x8906, "SIOCGSTAMP", R::Flat, 16},
    {0x8907, "SIOCGSTAMPNS", R::Flat, 16},
    {0x890b, "SIOCADDRT", R::Inner, 120, 88},
    {0x890c, "SIOCDELRT", R::Inner, 120, 88},
    {0x8910, "SIOCGIFNAME", R::Flat, 40},
    {0x8912, "SIOCGIFCONF", R::Inner, 16, 8},
    {0x8913, "SIOCGIFFLAGS", R::Flat, 40},
    {0x8914, "SIOCSIFFLAGS", R::Flat, 40},
    {0x8915, "SIOCGIFADDR", R::Flat, 40},
    {0x8916, "SIOCSIFADDR", R::Flat, 40},
    {0x8917, "SIOCGIFDSTADDR", R::Flat, 40},
    {0x8919, "SIOCGIFBRDADDR", R::Flat, 40},
    {0x891b, "SIOCGIFNETMASK", R::Flat, 40},
    {0x891c, "SIOCSIFNETMASK", R::Flat, 40},
    {0x891d, "SIOCGIFMETRIC", R::Flat, 40},
    {0x8921, "SIOCGIFMTU", R::Flat, 40},
    {0x8922, "SIOCSIFMTU", R::Flat, 40},
    {0x8927, "SIOCGIFHWADDR", R::Flat, 40},
    {0x8933, "SIOCGIFINDEX", R::Flat, 40},
    {0x8940, "SIOCGIFBR", R::Refuse},
    {0x8941, "SIOCSIFBR", R::Refuse},
    {0x8942, "SIOCGIFTXQLEN", R::Flat, 40},
    {0x8946, "SIOCETHTOOL", R::Inner, 40, 16},
    {0x894a, "SIOCWANDEV", R::Refuse},
    {0x8970, "SIOCGIFMAP", R::Flat, 40},
    {0x8990, "", R::Inner, 40, 16, 0x8995},  // bonding: ifr_data
    {0x89b0, "SIOCSHWTSTAMP", R::Inner, 40, 16},
    {0x89b1, "SIOCGHWTSTAMP", R::Inner, 40, 16},
    {0x89e0, "", R::Refuse, 0, 0, 0x89ff},   // a protocol's or a driver's own
    {0x8b00, "", R::Inner, 32, 16, 0x8bff},  // wireless extensions: iw_point
    {0xae00, "", R::Refuse, 0, 0, 0xaeff},   // KVM
};

// Whole requests, size and direction included.
constexpr IoctlRow kSized[] = {
    {0x40045431, "TIOCSPTLCK", R::Flat, 4},
    {0x400454ca, "TUNSETIFF", R::Flat, 40},
    {0x400454cb, "TUNSETPERSIST", R::Value},
    {0x400454cc, "TUNSETOWNER", R::Value},
    {0x400454ce, "TUNSETGROUP", R::Value},
    {0x40049409, "FICLONE", R::Fd},
    {0x40086602, "FS_IOC_SETFLAGS", R::Flat, 4},
    {0x401054d5, "TUNATTACHFILTER", R::Inner, 16, 8},
    {0x401054d6, "TUNDETACHFILTER", R::Inner, 16, 8},
    {0x40107446, "PPPIOCSACTIVE", R::Inner, 16, 8},
    {0x40107447, "PPPIOCSPASS", R::Inner, 16, 8},
    {0x4020940d, "FICLONERANGE", R::Flat, 32},
    {0x80045430, "TIOCGPTN", R::Flat, 4},
    {0x800454d2, "TUNGETIFF", R::Flat, 40},
    {0x80081272, "BLKGETSIZE64", R::Flat, 8},
    {0x80086601, "FS_IOC_GETFLAGS", R::Flat, 4},
    {0x801c581f, "FS_IOC_FSGETXATTR", R::Flat, 28},
    {0x802c542a, "TCGETS2", R::Flat, 44},
    {0x402c542b, "TCSETS2", R::Flat, 44},
    {0xc0189436, "FIDEDUPERANGE", R::Flat, 24},
    {0xc0185879, "FITRIM", R::Flat, 24},
    {0xc020660b, "FS_IOC_FIEMAP", R::Flat, 32},
};

// Families (bits 8-15 of a sized request) whose structures carry addresses in many places.
constexpr bool is_refused_family(std::uint8_t type, std::uint8_t nr) {
  switch (type) {
    case 0x1b:  // InfiniBand
    case 0x22:  // SCSI generic
    case '>':   // sync files
    case 'A':   // ALSA PCM
    case 'M':   // MTD
    case 'N':   // NVMe pass-through
    case 'V':   // Video4Linux
    case 'd':   // DRM
    case 'k':   // SPI
    case '|':   // media controller
    case 'U':   // USB devices
    case ';':   // VFIO
    case 0xaa:  // userfaultfd
    case 0xae:  // KVM
    case 0xaf:  // vhost
    case 0xc0:  // usb gadgets and others
      return true;
    case 'f': return nr == 133 || nr == 135;  // FS_IOC_ENABLE_VERITY, FS_IOC_READ_VERITY_METADATA
    case 0x94:  // btrfs: SEND, INO_PATHS, LOGICAL_INO, ENCODED_READ/WRITE, LOGICAL_INO_V2
      return nr == 35 || nr == 36 || nr == 38 || nr == 59 || nr == 64;
    default: return false;
  }
}

const IoctlRow* exact(std::uint32_t request) {
  for (const IoctlRow& r : kSized) {
    if (r.request == request) return &r;
  }
  if (request > 0xffff) return nullptr;
  for (const IoctlRow& r : kRequests) {
    if (request == r.request || (request > r.request && request <= r.last)) return &r;
  }
  return nullptr;
}

// The struct goes by a copy, whose address is checked; what the kernel changes in it goes back, the address
// excepted.
SysRet pass_inner(const Passing& p, const IoctlRow& rule) {
  constexpr std::size_t kLargest = 128;
  alignas(8) std::array<std::byte, kLargest> copy{};
  if (!p.gate.copy_in(copy.data(), p.args[2], rule.bytes)) return SysRet::fail(EFAULT);
  std::uint64_t inner = 0;
  std::copy_n(copy.data() + rule.at, sizeof inner, std::as_writable_bytes(std::span{&inner, 1}).data());
  if (forbidden(inner, 1)) return SysRet::fail(EFAULT);
  Args a = p.args;
  a[2] = address_of(copy.data());
  const SysRet r = p.issue(a);
  if (r.is_restart() || r.is_error()) return r;
  return p.gate.copy_out(p.args[2], copy.data(), rule.bytes) ? r : SysRet::fail(EFAULT);
}

}  // namespace

IoctlRow ioctl_rule(std::uint32_t request) {
  if (const IoctlRow* r = exact(request); r != nullptr) return *r;
  const auto type = static_cast<std::uint8_t>(request >> 8U);
  const auto nr = static_cast<std::uint8_t>(request);
  const auto bytes = static_cast<std::uint16_t>(request >> 16U & 0x3fffU);
  const bool is_sized = request > 0xffff;
  if (is_sized && is_refused_family(type, nr)) return {request, "", R::Refuse};
  return {request, "", R::Flat, static_cast<std::uint16_t>(std::max<unsigned>(bytes, 1))};
}

const char* ioctl_name(std::uint32_t request) {
  const IoctlRow* r = exact(request);
  return r == nullptr || *r->name == '\0' ? nullptr : r->name;
}

SysRet pass_ioctl(const Passing& p) {
  const IoctlRow rule = ioctl_rule(static_cast<std::uint32_t>(p.args[1]));
  switch (rule.rule) {
    case R::Value: return p.issue();
    case R::Fd: return p.hides(p.args[2]) ? SysRet::fail(EBADF) : p.issue();
    case R::Refuse: return SysRet::fail(ENOTTY);
    case R::Flat:
    case R::Inner: break;
  }
  // IA32: the kernel's own entry converts the struct, and its addresses have 32 bits.
  if (p.abi == Abi::Ia32) return p.issue();
  if (forbidden(p.args[2], rule.bytes)) return SysRet::fail(EFAULT);
  return rule.rule == R::Inner ? pass_inner(p, rule) : p.issue();
}

}  // namespace hpcvmm::sys
