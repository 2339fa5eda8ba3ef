// The vocabulary rows*.inc are written in: traits (who runs the call, restarts, twins) and one short function
// per kind of argument.  Only table.hh includes this.
#pragma once

#include "vmm/sys/row.hh"

namespace hpcvmm::sys::build {

/// Everything of a row but its name, numbers and arguments.
struct Traits {
  Runs runs = Runs::Host;
  Mobility mobility = Mobility::Home;
  Support support = Support::Full;
  Restart restart = Restart::Never;
  bool is_twin = false;
  int twin_nr = -1;  // -1 with is_twin: the row's own nr64
  const char* text = "";

  [[nodiscard]] constexpr Traits intr() const { return restarts(Restart::Sys); }
  [[nodiscard]] constexpr Traits nohand() const { return restarts(Restart::NoHand); }
  [[nodiscard]] constexpr Traits nointr() const { return restarts(Restart::NoIntr); }
  [[nodiscard]] constexpr Traits block() const { return restarts(Restart::Block); }
  [[nodiscard]] constexpr Traits twin() const { return twin_as(-1); }
  [[nodiscard]] constexpr Traits twin_as(int nr) const {
    Traits t = *this;
    t.is_twin = true;
    t.twin_nr = nr;
    return t;
  }
  [[nodiscard]] constexpr Traits pins() const {
    Traits t = *this;
    t.mobility = Mobility::Pins;
    return t;
  }
  [[nodiscard]] constexpr Traits partial() const {
    Traits t = *this;
    t.support = Support::Partial;
    return t;
  }
  [[nodiscard]] constexpr Traits note(const char* s) const {
    Traits t = *this;
    t.text = s;
    return t;
  }

 private:
  [[nodiscard]] constexpr Traits restarts(Restart r) const {
    Traits t = *this;
    t.restart = r;
    return t;
  }
};

inline constexpr Traits kHost{};
inline constexpr Traits kLocal{.runs = Runs::Local, .mobility = Mobility::Free};
inline constexpr Traits kVmm{.runs = Runs::Vmm};
/// Never executed: the guest gets refusal_errno() (passthrough.hh).
inline constexpr Traits kRefused{.runs = Runs::Vmm, .mobility = Mobility::Free, .support = Support::None};
/// The host kernel says ENOSYS itself.
inline constexpr Traits kGone{.mobility = Mobility::Free, .text = "ENOSYS, as on Linux"};

using Name = const char*;
constexpr Arg word(ArgKind k, Name n, Name fmt = "") { return {k, n, -1, 0, 0, fmt}; }
constexpr Arg i(Name n) { return word(ArgKind::Int, n); }
constexpr Arg u(Name n) { return word(ArgKind::UInt, n); }
constexpr Arg l(Name n) { return word(ArgKind::Long, n); }
constexpr Arg sz(Name n) { return word(ArgKind::Size, n); }
constexpr Arg hex(Name n) { return word(ArgKind::Hex, n); }
constexpr Arg fd(Name n = "fd") { return word(ArgKind::Fd, n); }
constexpr Arg dirfd(Name n = "dirfd") { return word(ArgKind::DirFd, n); }
constexpr Arg mode(Name n = "mode") { return word(ArgKind::Mode, n); }
constexpr Arg pid(Name n = "pid") { return word(ArgKind::Pid, n); }
constexpr Arg uid(Name n = "uid") { return word(ArgKind::Uid, n); }
constexpr Arg sig(Name n = "sig") { return word(ArgKind::Signal, n); }
constexpr Arg off(Name n) { return word(ArgKind::Off64, n); }
constexpr Arg off_hex(Name n) { return word(ArgKind::Hex, n); }
constexpr Arg flags(Name n, Name set) { return word(ArgKind::Flags, n, set); }
/// An address; `len` is the argument that holds the length of the range.
constexpr Arg addr(Name n, std::int8_t len = -1) { return {ArgKind::Address, n, len, 0, 0, ""}; }
constexpr Arg path(Name n) { return word(ArgKind::Path, n); }
constexpr Arg str(Name n) { return word(ArgKind::String, n); }
/// Buffers: argument `len` counts elements of e32 / e64 bytes (0: bytes).
constexpr Arg in(Name n, std::int8_t len, Name fmt = "", std::uint16_t e32 = 0, std::uint16_t e64 = 0) {
  return {ArgKind::InBuf, n, len, e32, e64, fmt};
}
constexpr Arg out(Name n, std::int8_t len, Name fmt = "", std::uint16_t e32 = 0, std::uint16_t e64 = 0) {
  return {ArgKind::OutBuf, n, len, e32, e64, fmt};
}
constexpr Arg inout(Name n, std::int8_t len, Name fmt = "", std::uint16_t e32 = 0, std::uint16_t e64 = 0) {
  return {ArgKind::InOutBuf, n, len, e32, e64, fmt};
}
constexpr Arg in_s(Name n, std::uint16_t s32, std::uint16_t s64, Name fmt = "") {
  return {ArgKind::InStruct, n, -1, s32, s64, fmt};
}
constexpr Arg out_s(Name n, std::uint16_t s32, std::uint16_t s64, Name fmt = "") {
  return {ArgKind::OutStruct, n, -1, s32, s64, fmt};
}
constexpr Arg inout_s(Name n, std::uint16_t s32, std::uint16_t s64, Name fmt = "") {
  return {ArgKind::InOutStruct, n, -1, s32, s64, fmt};
}
constexpr Arg in_iov(Name n, std::int8_t len) { return {ArgKind::InIovec, n, len, 8, 16, ""}; }
constexpr Arg out_iov(Name n, std::int8_t len) { return {ArgKind::OutIovec, n, len, 8, 16, ""}; }
constexpr Arg in_msg(Name n) { return {ArgKind::InMsghdr, n, -1, 28, 56, ""}; }
constexpr Arg out_msg(Name n) { return {ArgKind::OutMsghdr, n, -1, 28, 56, ""}; }
constexpr Arg in_mmsg(Name n, std::int8_t len) { return {ArgKind::InMmsghdr, n, len, 32, 64, ""}; }
constexpr Arg out_mmsg(Name n, std::int8_t len) { return {ArgKind::OutMmsghdr, n, len, 32, 64, ""}; }
constexpr Arg in_sa(Name n, std::int8_t len) { return {ArgKind::InSockaddr, n, len, 0, 0, ""}; }
constexpr Arg out_sa(Name n, std::int8_t len) { return {ArgKind::OutSockaddr, n, len, 0, 0, ""}; }
constexpr Arg io_len(Name n) { return {ArgKind::InOutLen, n, -1, 4, 4, ""}; }
constexpr Arg strings(Name n) { return word(ArgKind::StringArray, n); }
constexpr Arg futex(Name n) { return {ArgKind::Futex, n, -1, 4, 4, ""}; }
constexpr Arg ioctl_arg(Name n, std::int8_t req) { return {ArgKind::IoctlArg, n, req, 0, 0, ""}; }
/// A pointer or a plain word: argument `cmd` (of fcntl, semctl) says which.
constexpr Arg cmd_arg(Name n, std::int8_t cmd) { return {ArgKind::FcntlArg, n, cmd, 0, 0, ""}; }
constexpr Arg sock_opt(Name n, std::int8_t len) { return {ArgKind::SockOptVal, n, len, 0, 0, ""}; }
constexpr Arg opaque(Name n) { return word(ArgKind::Opaque, n); }

template <class... A>
constexpr Row row(Call call, Name name, int nr32, int nr64, const Traits& t, const A&... args) {
  static_assert(sizeof...(A) <= 6);
  return {call,
          name,
          static_cast<std::int16_t>(nr32),
          static_cast<std::int16_t>(nr64),
          {args...},
          t.runs,
          t.mobility,
          t.support,
          t.restart,
          t.is_twin,
          t.text,
          static_cast<std::int16_t>(!t.is_twin ? -1 : (t.twin_nr >= 0 ? t.twin_nr : nr64))};
}

}  // namespace hpcvmm::sys::build
