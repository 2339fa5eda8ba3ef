// Symbol lookup in a mapped vDSO image, by DT_HASH or DT_GNU_HASH, both ELF classes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace hpcvmm::vdso {

struct ElfSymbol {
  std::uint64_t offset;  ///< from the image's first byte
  std::uint64_t bytes;   ///< 0 when the image does not say
};

/// Finds the defined dynamic symbol `name`.  `image` is a vDSO as it lies in memory: one PT_LOAD from file
/// offset 0, DT_ addresses relative to that segment's p_vaddr.  Every table access is checked against
/// `image`. Nothing when the image is not such an ELF file or has no such symbol.
std::optional<ElfSymbol> find_symbol(std::span<const std::byte> image, std::string_view name);

}  // namespace hpcvmm::vdso
