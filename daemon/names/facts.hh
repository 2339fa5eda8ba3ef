// Facts as they travel from a home to the other nodes.
//
// A batch is Batch, then records one behind the other: FactHead, name, text, and for a Node NodeFacts and
// content.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "hpcvmm/wire/names.hh"

namespace hpcvmm::daemon::names {

using wire::names::Id;
using wire::names::Kind;
using wire::names::NodeFacts;

enum class Fact : std::uint8_t {
  Folder = 1,  ///< id, child: its parent, flags; its entries follow as Entry
  Entry,       ///< id: the folder, child, kind, name, text of a link
  Node,        ///< id; NodeFacts and content
  Root,        ///< id
  // Taken back:
  NoFolder,  ///< id: the folder's entries and its parent
  NoEntry,   ///< id: the folder, name
  NoNode,    ///< id
};

struct FactHead {
  Fact fact = Fact::Folder;
  Kind kind = Kind::Unknown;
  std::uint8_t flags = 0;
  std::uint8_t reserved = 0;
  std::uint16_t name_bytes = 0;
  std::uint16_t text_bytes = 0;
  std::uint64_t data_bytes = 0;       ///< NodeFacts and content
  std::int64_t until_ns = 0;          ///< of a link
  std::uint32_t owner = 0, mode = 0;  ///< of a folder
  Id id, child;
};
static_assert(sizeof(FactHead) == 64);

struct Batch {
  std::uint64_t sequence = 0;  ///< 1: the first to this node, which forgets what it had before
  std::uint64_t epoch = 0;
};

using Bytes = std::vector<std::byte>;

inline void put(Bytes& to, const void* from, std::size_t bytes) {
  if (bytes == 0) return;
  const std::size_t at = to.size();
  to.resize(at + bytes);
  std::memcpy(to.data() + at, from, bytes);
}

inline void put_fact(Bytes& to, FactHead head, std::string_view name = {}, std::string_view text = {}) {
  head.name_bytes = static_cast<std::uint16_t>(name.size());
  head.text_bytes = static_cast<std::uint16_t>(text.size());
  put(to, &head, sizeof head);
  put(to, name.data(), name.size());
  put(to, text.data(), text.size());
}

/// One fact out of a batch.
struct FactView {
  FactHead head;
  std::string_view name, text;
  std::span<const std::byte> data;
};

/// Takes the first fact off `bytes`.  False: it is not whole, or impossible.  Pure.
inline bool take_fact(std::span<const std::byte>& bytes, FactView& out) {
  if (bytes.size() < sizeof out.head) return false;
  std::memcpy(static_cast<void*>(&out.head), bytes.data(), sizeof out.head);
  const FactHead& h = out.head;
  bytes = bytes.subspan(sizeof h);
  if (h.fact < Fact::Folder || h.fact > Fact::NoNode || h.kind > Kind::Other || h.name_bytes > 255 ||
      h.text_bytes > wire::names::kMostLinkText || h.data_bytes > bytes.size() ||
      bytes.size() - h.data_bytes < std::size_t{h.name_bytes} + h.text_bytes)
    return false;
  const auto* const text = reinterpret_cast<const char*>(bytes.data());
  out.name = {text, h.name_bytes};
  out.text = {text + h.name_bytes, h.text_bytes};
  out.data = bytes.subspan(std::size_t{h.name_bytes} + h.text_bytes, h.data_bytes);
  bytes = bytes.subspan(std::size_t{h.name_bytes} + h.text_bytes + h.data_bytes);
  if (h.fact != Fact::Node) return h.data_bytes == 0;
  if (out.data.size() < sizeof(NodeFacts)) return false;
  NodeFacts facts;
  std::memcpy(static_cast<void*>(&facts), out.data.data(), sizeof facts);
  return facts.content_bytes == out.data.size() - sizeof facts &&
         facts.content_bytes <= wire::names::kMostContent;
}

}  // namespace hpcvmm::daemon::names
