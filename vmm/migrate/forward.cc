#include "vmm/migrate/forward.hh"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "vmm/engine/engine.hh"
#include "vmm/mem/user_copy.hh"
#include "vmm/migrate/bytes.hh"
#include "vmm/sys/marshal.hh"
#include "vmm/sys/passthrough.hh"

namespace hpcvmm::migrate::forward {
namespace {

constexpr std::uint8_t kIn = 1;
constexpr std::uint8_t kOut = 2;
constexpr std::uint8_t kText = 4;
constexpr std::uint8_t kApart = 8;

/// On the wire: a blob is Count, `areas` times Piece, then the data of the pieces that have some.
struct Count {
  std::uint32_t areas = 0;
  std::uint32_t data = 0;  ///< bytes
};
struct Piece {
  std::uint64_t guest = 0;
  std::uint32_t bytes = 0;
  std::uint8_t arg = 0;
  std::uint8_t unit = 0;
  std::uint8_t flags = 0;
  std::uint8_t reserved = 0;
};

struct Ahead {
  Head head{Msg::CallData, 0, 0};  // id: vCPU
  std::uint32_t total = 0, offset = 0;
};
/// Most data of a call in one record.
constexpr std::size_t kMostInRecord = 60 * 1024;
static_assert(kMostInRecord + sizeof(Left) + sizeof(Run) + FpState::kMaxBytes <= wire::local::kMaxRecord);

constexpr std::size_t up8(std::size_t n) { return (n + 7) & ~std::size_t{7}; }

/// True if the range is here, or so much of it that the rest had better come, too.  What is only read and is
/// all at home stays there.
bool is_near(std::uint64_t begin, std::size_t bytes, bool written, const Owns& owns) {
  constexpr std::size_t kFew = 2;
  if (touches_zone(begin, bytes)) return false;
  const std::uint64_t from = page_down(begin);
  const std::size_t pages = (page_down(begin + bytes - 1) - from) / kPageSize + 1;
  std::array<unsigned char, sys::kMostMarshalled / kPageSize + 1> present{};
  if (pages > present.size() || ::mincore(pointer(from), pages * kPageSize, present.data()) != 0)
    return false;
  std::size_t absent = 0;
  std::size_t far = 0;
  for (std::size_t i = 0; i < pages; ++i) {
    if ((present[i] & 1U) != 0) continue;
    ++absent;
    if (!owns(from + i * kPageSize)) ++far;
  }
  return far == 0 || (far <= kFew && (written || absent < pages));
}

bool nothing(std::uint64_t) { return false; }

/// For the planner: lengths and vectors, without waiting for pages.
bool read_here(void* to, std::uint64_t guest, std::size_t bytes) {
  return bytes == 0 || (is_near(guest, bytes, false, nothing) && mem::copy_in(to, guest, bytes));
}

/// Bytes of the text with its 0; 0: it does not end, or not here.
std::uint32_t text_here(std::byte* to, std::uint64_t guest, std::uint32_t most, const Owns& owns) {
  std::uint32_t have = 0;
  while (have < most) {
    const auto piece = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(most - have, kPageSize - (guest + have) % kPageSize));
    if (!is_near(guest + have, piece, have != 0, owns)) return 0;
    const std::ptrdiff_t n = mem::copy_in_string(reinterpret_cast<char*>(to) + have, guest + have, piece);
    if (n < 0) return 0;
    if (static_cast<std::uint32_t>(n) < piece) return have + static_cast<std::uint32_t>(n) + 1;
    have += piece;
  }
  return 0;
}

/// Appends the area's data to `out`; false: it had better not travel.
bool take_area(const sys::Area& a, Piece& piece, const Owns& owns, Blob& out) {
  piece = {a.guest, a.bytes, a.arg, a.unit, 0, 0};
  const std::size_t at = out.size();
  if (a.text) {
    out.resize(at + a.bytes);
    piece.bytes = text_here(out.data() + at, a.guest, a.bytes, owns);
    piece.flags = kIn | kText;
    out.resize(at + piece.bytes);
    return piece.bytes != 0;
  }
  if (!is_near(a.guest, a.bytes, a.out, owns)) return false;
  if (a.out && !mem::is_writable(a.guest, a.bytes)) return false;
  piece.flags = static_cast<std::uint8_t>((a.in ? kIn : 0) | (a.out ? kOut : 0) | (a.apart ? kApart : 0));
  if (!a.in) return true;
  out.resize(at + a.bytes);
  if (mem::copy_in(out.data() + at, a.guest, a.bytes)) return true;
  out.resize(at);
  return false;
}

}  // namespace

void pack_call(const GuestRegs& regs, Abi abi, const Owns& owns, Blob& out) {
  out.clear();
  const sys::Row* const row = sys::find_row(abi, static_cast<std::uint32_t>(regs.rax));
  if (row == nullptr || !sys::may_marshal(*row, abi)) return;
  const sys::Plan plan = sys::marshal_plan(*row, abi, sys::call_args(regs, abi), read_here);
  if (plan.count == 0) return;
  std::array<Piece, sys::kMaxAreas> pieces{};
  Count count{};
  const std::size_t head = sizeof count + plan.count * sizeof pieces[0];
  out.resize(head);
  for (const sys::Area& a : plan.all()) {
    if (take_area(a, pieces[count.areas], owns, out)) {
      ++count.areas;
    } else if (a.out && (a.arg == plan.vector_arg)) {
      // The result counts bytes of all buffers of a vector, and an error may come behind some of them.
      return out.clear();
    }
  }
  if (count.areas == 0) return out.clear();
  count.data = static_cast<std::uint32_t>(out.size() - head);
  const std::size_t used = sizeof count + count.areas * sizeof pieces[0];
  if (used < head) out.erase(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(head - used));
  std::memcpy(out.data(), &count, sizeof count);
  std::memcpy(out.data() + sizeof count, pieces.data(), count.areas * sizeof pieces[0]);
}

bool unpack_call(const Left& left, const std::byte* data, std::size_t bytes, Blob& room, mem::Overlay& out) {
  out.clear();
  const Abi abi = left.kind == static_cast<std::uint8_t>(engine::ExitKind::Syscall64) ? Abi::X64 : Abi::Ia32;
  const sys::Row* const row = sys::find_row(abi, static_cast<std::uint32_t>(left.regs.rax));
  if (row == nullptr || !sys::may_marshal(*row, abi)) return false;
  Count count{};
  std::array<Piece, sys::kMaxAreas> pieces{};
  if (!read_as(count, data, bytes) || count.areas > pieces.size()) return false;
  const std::size_t head = sizeof count + count.areas * sizeof pieces[0];
  if (bytes < head || bytes - head < count.data) return false;
  std::memcpy(pieces.data(), data + sizeof count, count.areas * sizeof pieces[0]);
  std::size_t need = 0;
  std::size_t carried = 0;
  for (unsigned i = 0; i < count.areas; ++i) {
    const Piece& p = pieces[i];
    if (p.bytes == 0 || p.bytes > sys::kMostMarshalled || touches_zone(p.guest, p.bytes)) return false;
    need += ((p.flags & kOut) != 0 && p.unit == 0 ? 2 : 1) * up8(p.bytes);
    if ((p.flags & kIn) != 0) carried += p.bytes;
  }
  if (carried != count.data || need > 4 * std::size_t{sys::kMostMarshalled}) return false;
  if (room.size() < need) room.resize(need);
  const std::byte* from = data + head;
  std::byte* to = room.data();
  for (unsigned i = 0; i < count.areas; ++i) {
    const Piece& p = pieces[i];
    mem::OverlayArea a{p.guest,
                       p.bytes,
                       p.arg,
                       p.unit,
                       (p.flags & kOut) != 0,
                       (p.flags & kText) != 0,
                       to,
                       nullptr,
                       (p.flags & kApart) != 0};
    if ((p.flags & kIn) != 0) {
      std::memcpy(to, from, p.bytes);
      if (a.text && to[p.bytes - 1] != std::byte{0}) return out.clear(), false;
      from += p.bytes;
    }
    to += up8(p.bytes);
    if (a.out && a.unit == 0) {
      if ((p.flags & kIn) == 0) return out.clear(), false;
      std::memcpy(to, a.data, p.bytes);
      a.before = to;
      to += up8(p.bytes);
    }
    if (!out.add(a)) return out.clear(), false;
  }
  return true;
}

void pack_results(const mem::Overlay& from, Blob& out) {
  Count count{from.pieces(), 0};
  std::size_t total = sizeof count + count.areas * sizeof(Piece);
  for (unsigned i = 0; i < count.areas; ++i) total += from.piece(i).bytes;
  out.resize(total);
  std::byte* piece = out.data() + sizeof count;
  std::byte* data = piece + count.areas * sizeof(Piece);
  for (unsigned i = 0; i < count.areas; ++i) {
    const mem::OverlayPiece& p = from.piece(i);
    const Piece w{p.guest, static_cast<std::uint32_t>(p.bytes), 0, 0, kIn, 0};
    std::memcpy(piece, &w, sizeof w);
    std::memcpy(data, p.data, p.bytes);
    piece += sizeof w;
    data += p.bytes;
    count.data += w.bytes;
  }
  std::memcpy(out.data(), &count, sizeof count);
}

bool apply_results(const Blob& data) {
  Count count{};
  if (!read_as(count, data.data(), data.size())) return false;
  std::size_t at = sizeof count + count.areas * sizeof(Piece);
  if (count.areas > mem::Overlay::kMostPieces || data.size() < at) return false;
  for (unsigned i = 0; i < count.areas; ++i) {
    Piece p{};
    std::memcpy(&p, data.data() + sizeof count + i * sizeof p, sizeof p);
    if (data.size() - at < p.bytes || !mem::copy_out(p.guest, data.data() + at, p.bytes)) return false;
    at += p.bytes;
  }
  return true;
}

void fail_call(GuestRegs& regs) {
  regs.rax = static_cast<std::uint64_t>(-static_cast<std::int64_t>(EFAULT));
  if (regs.is_compat()) regs.rax &= 0xffff'ffffU;
}

bool send_ahead(std::uint32_t vcpu, const Blob& blob, const Send& send) {
  if (blob.size() <= kMostInRecord) return false;
  for (std::size_t at = 0; at < blob.size(); at += kMostInRecord) {
    const Ahead ahead{
        {Msg::CallData, 0, vcpu}, static_cast<std::uint32_t>(blob.size()), static_cast<std::uint32_t>(at)};
    send({{&ahead, sizeof ahead}, {blob.data() + at, std::min(kMostInRecord, blob.size() - at)}});
  }
  return true;
}

void collect(const std::byte* data, std::size_t bytes, Blob& into) {
  constexpr std::size_t kMost = 4 * std::size_t{sys::kMostMarshalled};
  Ahead a{};
  if (!read_as(a, data, bytes)) return;
  bytes -= sizeof a;
  if (a.total > kMost || a.offset > a.total || bytes > a.total - a.offset) return into.clear();
  if (a.offset == 0) into.resize(a.total);
  if (into.size() == a.total) std::memcpy(into.data() + a.offset, data + sizeof a, bytes);
}

}  // namespace hpcvmm::migrate::forward
