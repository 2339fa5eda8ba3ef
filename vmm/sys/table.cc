#include "vmm/sys/table.hh"

namespace hpcvmm::sys {
namespace {

constexpr std::size_t kNumbers = 512;  // x32 begins here; its numbers are no rows of ours
constexpr std::uint16_t kNoRow = 0xffff;

using NumberMap = std::array<std::uint16_t, kNumbers>;

constexpr int number(const Row& r, Abi abi) { return abi == Abi::X64 ? r.nr64 : r.nr32; }

constexpr NumberMap make_map(Abi abi) {
  NumberMap m{};
  m.fill(kNoRow);
  for (std::size_t i = 0; i < kRows.size(); ++i) {
    const int nr = number(kRows[i], abi);
    if (nr >= 0) m.at(static_cast<std::size_t>(nr)) = static_cast<std::uint16_t>(i);
  }
  return m;
}

constexpr auto kMap64 = make_map(Abi::X64);
constexpr auto kMap32 = make_map(Abi::Ia32);

constexpr auto kShapes = [] {
  std::array<Shape, kRows.size()> s{};
  for (std::size_t i = 0; i < s.size(); ++i) s[i] = shape_from(kRows[i]);
  return s;
}();

// A number claimed twice leaves one of its rows unreachable.
constexpr bool every_number_leads_back(Abi abi) {
  const NumberMap& m = abi == Abi::X64 ? kMap64 : kMap32;
  for (std::size_t i = 0; i < kRows.size(); ++i) {
    const int nr = number(kRows[i], abi);
    if (nr >= 0 && m[static_cast<std::size_t>(nr)] != i) return false;
    if (static_cast<std::size_t>(kRows[i].call) != i) return false;
  }
  return true;
}
static_assert(every_number_leads_back(Abi::X64), "two rows claim one x86-64 number");
static_assert(every_number_leads_back(Abi::Ia32), "two rows claim one IA32 number");

// Six registers; a length is an argument of its own row; a twin has one layout and no inner addresses.
constexpr bool arguments_fit(const Row& r) {
  unsigned regs = 0;
  unsigned count = 0;
  for (const Arg& a : r.args) {
    if (a.kind == ArgKind::None) continue;
    ++count;
    regs += a.kind == ArgKind::Off64 && r.nr32 >= 0 ? 2 : 1;
  }
  for (const Arg& a : r.args) {
    if (a.len_arg >= static_cast<int>(count)) return false;
    const bool is_buf = a.kind == ArgKind::InBuf || a.kind == ArgKind::OutBuf || a.kind == ArgKind::InOutBuf;
    if (is_buf && a.len_arg < 0) return false;
  }
  return regs <= 6;
}
constexpr bool twin_is_possible(const Row& r) {
  if (!r.twin) return r.twin_nr < 0;
  if (r.nr32 < 0 || r.twin_nr < 0) return false;
  for (const Arg& a : r.args) {
    if (a.size32 != a.size64) return false;
  }
  return !is_deep(r);
}
constexpr bool rows_are_sound() {
  for (const Row& r : kRows) {
    if (!arguments_fit(r) || !twin_is_possible(r) || (r.nr32 < 0 && r.nr64 < 0)) return false;
  }
  return true;
}
static_assert(rows_are_sound());

}  // namespace

const Row* find_row(Abi abi, std::uint32_t nr) {
  if (nr >= kNumbers) return nullptr;
  const std::uint16_t i = abi == Abi::X64 ? kMap64[nr] : kMap32[nr];
  return i == kNoRow ? nullptr : &kRows[i];
}

const Row* find_row(std::string_view name) {
  for (const Row& r : kRows) {
    if (name == r.name) return &r;
  }
  return nullptr;
}

const Row& row_of(Call call) { return kRows[static_cast<std::size_t>(call)]; }

const Shape& shape_of(const Row& row) { return kShapes[static_cast<std::size_t>(row.call)]; }

}  // namespace hpcvmm::sys
