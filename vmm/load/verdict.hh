// Verdict: what execve(2) would say about a file, as a guest-visible errno with the reason in words.
#pragma once

namespace hpcvmm::load {

/// The answer to "can this be executed?".  `error` is an errno the *guest* sees (unlike hpcvmm::Error, which
/// is a failure of the host); `why` is a literal for `launch`'s own messages.
struct [[nodiscard]] Verdict {
  int error = 0;
  const char* why = "";

  [[nodiscard]] bool ok() const { return error == 0; }
  static Verdict fail(int error, const char* why) { return {error, why}; }
};

}  // namespace hpcvmm::load
