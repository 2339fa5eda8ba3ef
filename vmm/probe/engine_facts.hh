// Which engine can run which ABI on this host, and the policy that chooses between them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "hpcvmm/base/cpu.hh"
#include "hpcvmm/base/result.hh"
#include "vmm/engine/engine.hh"

namespace hpcvmm::probe {

/// How an engine runs an ABI's user code.
enum class CodeRun : std::uint8_t { Absent, Emulated, Native };
std::string_view to_string(CodeRun run);
std::string_view to_string(Abi abi);            // "x86-64", "ia32"
std::string_view to_string(engine::Kind kind);  // "kvm", "direct"

struct EngineFacts {
  std::array<CodeRun, 2> kvm{};  ///< by Abi
  std::array<bool, 2> direct{};  ///< by Abi

  [[nodiscard]] CodeRun kvm_run(Abi abi) const { return kvm[static_cast<std::size_t>(abi)]; }
  [[nodiscard]] bool direct_runs(Abi abi) const { return direct[static_cast<std::size_t>(abi)]; }
  friend bool operator==(const EngineFacts&, const EngineFacts&) = default;
};

/// The engine for `--engine auto`: isolation first, so kvm wherever it runs the ABI natively; direct where
/// kvm is absent or emulates that ABI.  Speed is no argument: direct isolates nothing. `reason` becomes one
/// sentence for `-v`; when there is no engine, what is missing and the remedy.  Pure.
std::optional<engine::Kind> choose_engine(Abi abi, const EngineFacts& facts, std::string& reason);

/// Measures the facts (a few ms natively, about 15 ms where IA32 is emulated).  False if something of the
/// moment (a time limit, no memory) decided one of them: use them, but do not keep them.  Threads:
/// single-threaded caller.
bool measure_engines(EngineFacts& facts);

/// $XDG_RUNTIME_DIR/hpc-vmm/host-facts, else ~/.cache/hpc-vmm/host-facts; empty when neither variable is set.
std::string engine_cache_path();

/// What the cached facts are valid for: boot, kernel, this user's access to /dev/kvm and which device that
/// is.  Asked once a process.  Threads: single-threaded caller.
const std::string& engine_cache_key();

/// The cache file's text for `facts`, and back.  Nothing when `text` is not of this version, belongs to
/// another key or is damaged.  Pure.
std::string format_engine_cache(const EngineFacts& facts, std::string_view key);
std::optional<EngineFacts> parse_engine_cache(std::string_view text, std::string_view key);

/// Facts from the cache (under 50 us), or measured and stored.  A cache that cannot be read, trusted (another
/// owner, writable by others, a symbolic link) or written only costs the measurement.  True when they came
/// from the cache. Threads: single-threaded caller.
bool load_or_measure_engines(EngineFacts& facts, const std::string& path);
inline bool load_or_measure_engines(EngineFacts& facts) {
  return load_or_measure_engines(facts, engine_cache_path());
}

/// Writes the cache.  Errors: of mkdir, open, write, rename.  doctor uses it after a full measurement.
Status store_engine_cache(const EngineFacts& facts, const std::string& path);

}  // namespace hpcvmm::probe
