// Messages of VMM processes, taken apart and checked.  Pure: no descriptor, no table is looked at.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "hpcvmm/wire/local.hh"

namespace hpcvmm::daemon {

/// What is wrong with a message: ends the connection.
struct BadMessage {
  const char* why;
};

/// Type::Adopt, which is a header only; the descriptor travels beside it.
struct Adopt {};

using LocalMessage =
    std::variant<BadMessage, wire::local::Register, wire::local::State, Adopt, wire::local::Open,
                 wire::local::Close, wire::local::MoveDone, wire::local::FileSeen, wire::local::FileAsk,
                 wire::local::Affinity, wire::local::Mappings, wire::local::Held, wire::local::NamesAsk,
                 wire::local::NamesHold>;

/// A whole datagram.  Good messages have their right size and version, enumerators in range, channels from 1
/// to 65535, and text that ends within its array and holds printable characters only (it goes to people's
/// terminals).
LocalMessage parse_local(std::span<const std::byte> datagram);

/// `text` with every byte that is not printable ASCII replaced by '?': it goes to terminals and into JSON.
std::string clean_text(std::string_view text);

/// Copies as much of `text` as fits, with a 0 behind it.
template <std::size_t N> void set_text(char (&to)[N], std::string_view text) {
  const std::size_t n = text.size() < N - 1 ? text.size() : N - 1;
  text.copy(to, n);
  to[n] = 0;
}

/// The text in a fixed array.
template <std::size_t N> std::string get_text(const char (&from)[N]) {
  return clean_text(std::string_view(from, N).substr(0, std::string_view(from, N).find('\0')));
}

}  // namespace hpcvmm::daemon
