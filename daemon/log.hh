// The log: one line per event, a message and named values, as text or as JSON.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>

namespace hpcvmm::daemon::log {

enum class Level : std::uint8_t { Trace, Debug, Info, Warning, Error };

/// A named value.
class Field {
 public:
  // Implicit on purpose: log::info("x", {{"pid", pid}}) must read plainly.
  // NOLINTBEGIN(google-explicit-constructor)
  template <class T, std::enable_if_t<std::is_arithmetic_v<T>, int> = 0>
  Field(const char* field, T value) : name(field), text(std::to_string(value)), quoted(false) {}
  Field(const char* field, std::string_view value) : name(field), text(value), quoted(true) {}
  // NOLINTEND(google-explicit-constructor)
  const char* name;
  std::string text;
  bool quoted;
};
using Fields = std::initializer_list<Field>;

/// To stderr.  `level`: one of the names of the configuration.
void start(const std::string& level, bool json, std::uint32_t node);
void write(Level level, std::string_view message, Fields fields);

inline void debug(std::string_view message, Fields fields = {}) { write(Level::Debug, message, fields); }
inline void info(std::string_view message, Fields fields = {}) { write(Level::Info, message, fields); }
inline void warning(std::string_view message, Fields fields = {}) { write(Level::Warning, message, fields); }
inline void error(std::string_view message, Fields fields = {}) { write(Level::Error, message, fields); }

}  // namespace hpcvmm::daemon::log
