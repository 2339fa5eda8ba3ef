// Result<T>: a value or an Error, spelled like C++23 std::expected so that it can become an alias later.
#pragma once

#include <cerrno>
#include <utility>
#include <variant>

namespace hpcvmm {

/// Why a host-side operation failed.  Never sent to a guest; see sys::SysRet for guest-visible errno.
struct [[nodiscard]] Error {
  int code;          ///< errno value, > 0
  const char* op;    ///< what was attempted: a literal such as "KVM_SET_SREGS"
  const char* file;  ///< where it was noticed (not std::source_location: clang-tidy 14 cannot parse it)
  int line;

  /// Captures errno *now*: call it before anything else can overwrite errno.
  static Error last(const char* op, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {errno != 0 ? errno : EIO, op, file, line};
  }
  /// An error known by number rather than through errno.
  static Error of(int code, const char* op, const char* file = __builtin_FILE(),
                  int line = __builtin_LINE()) {
    return {code, op, file, line};
  }
};

template <class T> class [[nodiscard]] Result {
 public:
  // Implicit on purpose, as in std::expected: `return value;` and `return error;` must both read plainly.
  // NOLINTBEGIN(google-explicit-constructor)
  Result(T v) : state_(std::in_place_index<0>, std::move(v)) {}
  Result(Error e) : state_(std::in_place_index<1>, e) {}
  // NOLINTEND(google-explicit-constructor)
  explicit operator bool() const { return state_.index() == 0; }
  T& operator*() & { return *std::get_if<0>(&state_); }
  const T& operator*() const& { return *std::get_if<0>(&state_); }
  T&& operator*() && { return std::move(*std::get_if<0>(&state_)); }
  T* operator->() { return std::get_if<0>(&state_); }
  const Error& error() const { return *std::get_if<1>(&state_); }

 private:
  std::variant<T, Error> state_;
};

struct Unit {};
using Status = Result<Unit>;

}  // namespace hpcvmm

#define HPCVMM_CAT_(a, b) a##b  // NOLINT(readability-identifier-naming)
#define HPCVMM_CAT(a, b) HPCVMM_CAT_(a, b)
/// HPCVMM_TRY(auto fd, open_kvm());  declares `fd`, or returns the Error from the enclosing function.
#define HPCVMM_TRY(decl, expr)                                                \
  auto HPCVMM_CAT(try_, __LINE__) = (expr);                                   \
  if (!HPCVMM_CAT(try_, __LINE__)) return HPCVMM_CAT(try_, __LINE__).error(); \
  decl = *std::move(HPCVMM_CAT(try_, __LINE__))
/// HPCVMM_CHECK_OK(expr);  for Status-returning calls whose value is not needed.
#define HPCVMM_CHECK_OK(expr)                                    \
  do {                                                           \
    if (auto try_ok_ = (expr); !try_ok_) return try_ok_.error(); \
  } while (false)
