#include "guest-agent/vdso/elf_symbols.hh"

#include <elf.h>

#include <cstring>

namespace hpcvmm::vdso {
namespace {

struct Class32 {
  using Ehdr = Elf32_Ehdr;
  using Phdr = Elf32_Phdr;
  using Dyn = Elf32_Dyn;
  using Sym = Elf32_Sym;
  using Bloom = std::uint32_t;
};
struct Class64 {
  using Ehdr = Elf64_Ehdr;
  using Phdr = Elf64_Phdr;
  using Dyn = Elf64_Dyn;
  using Sym = Elf64_Sym;
  using Bloom = std::uint64_t;
};

template <class T> bool load(std::span<const std::byte> image, std::uint64_t offset, T& out) {
  if (offset > image.size() || image.size() - offset < sizeof(T)) return false;
  std::memcpy(&out, image.data() + offset, sizeof(T));
  return true;
}

/// Offsets of the dynamic tables; 0 = absent (offset 0 is the ELF header, never a table).
struct Tables {
  std::uint64_t hash = 0, gnu_hash = 0, symtab = 0, strtab = 0;
};

template <class C> std::optional<Tables> read_tables(std::span<const std::byte> image) {
  typename C::Ehdr header{};
  if (!load(image, 0, header)) return std::nullopt;
  std::uint64_t base = 0;
  std::uint64_t dynamic = 0;
  std::uint64_t dynamic_bytes = 0;
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    typename C::Phdr segment{};
    if (!load(image, header.e_phoff + std::uint64_t{i} * sizeof(segment), segment)) return std::nullopt;
    if (segment.p_type == PT_LOAD && segment.p_offset == 0) base = segment.p_vaddr;
    if (segment.p_type == PT_DYNAMIC) {
      dynamic = segment.p_offset;
      dynamic_bytes = segment.p_filesz;
    }
  }
  Tables tables;
  typename C::Dyn entry{};
  for (std::uint64_t at = 0; at + sizeof(entry) <= dynamic_bytes; at += sizeof(entry)) {
    if (!load(image, dynamic + at, entry)) return std::nullopt;
    const std::uint64_t value = entry.d_un.d_ptr - base;
    if (entry.d_tag == DT_NULL) break;
    if (entry.d_tag == DT_HASH) tables.hash = value;
    if (entry.d_tag == DT_GNU_HASH) tables.gnu_hash = value;
    if (entry.d_tag == DT_SYMTAB) tables.symtab = value;
    if (entry.d_tag == DT_STRTAB) tables.strtab = value;
  }
  if (tables.symtab == 0 || tables.strtab == 0) return std::nullopt;
  return tables;
}

/// The symbol at `index` if it is defined and called `name`.
template <class C>
std::optional<ElfSymbol> match(std::span<const std::byte> image, const Tables& tables, std::uint32_t index,
                               std::string_view name) {
  typename C::Sym symbol{};
  if (!load(image, tables.symtab + std::uint64_t{index} * sizeof(symbol), symbol)) return std::nullopt;
  if (symbol.st_shndx == SHN_UNDEF || symbol.st_value == 0) return std::nullopt;
  const std::uint64_t text = tables.strtab + symbol.st_name;
  if (text >= image.size() || image.size() - text <= name.size()) return std::nullopt;
  if (std::memcmp(image.data() + text, name.data(), name.size()) != 0) return std::nullopt;
  if (image[text + name.size()] != std::byte{0}) return std::nullopt;
  return ElfSymbol{symbol.st_value, symbol.st_size};
}

template <class C>
std::optional<ElfSymbol> find_by_hash(std::span<const std::byte> image, const Tables& tables,
                                      std::string_view name) {
  std::uint32_t h = 0;  // the System V ABI's hash
  for (const char c : name) {
    h = (h << 4) + static_cast<unsigned char>(c);
    const std::uint32_t high = h & 0xf0000000;
    h = (h ^ (high >> 24)) & ~high;
  }
  std::uint32_t nbucket = 0;
  std::uint32_t nchain = 0;
  std::uint32_t index = 0;
  if (!load(image, tables.hash, nbucket) || !load(image, tables.hash + 4, nchain) || nbucket == 0)
    return std::nullopt;
  if (!load(image, tables.hash + 8 + std::uint64_t{4} * (h % nbucket), index)) return std::nullopt;
  for (std::uint32_t steps = 0; index != 0 && index < nchain && steps < nchain; ++steps) {
    if (auto found = match<C>(image, tables, index, name)) return found;
    if (!load(image, tables.hash + 8 + std::uint64_t{4} * (std::uint64_t{nbucket} + index), index)) break;
  }
  return std::nullopt;
}

template <class C>
std::optional<ElfSymbol> find_by_gnu_hash(std::span<const std::byte> image, const Tables& tables,
                                          std::string_view name) {
  std::uint32_t h = 5381;
  for (const char c : name) h = h * 33 + static_cast<unsigned char>(c);
  std::uint32_t head[4] = {};  // nbuckets, first hashed symbol, Bloom words, Bloom shift
  if (!load(image, tables.gnu_hash, head) || head[0] == 0) return std::nullopt;
  const std::uint64_t buckets = tables.gnu_hash + sizeof(head) + head[2] * sizeof(typename C::Bloom);
  const std::uint64_t chains = buckets + std::uint64_t{4} * head[0];
  std::uint32_t index = 0;
  if (!load(image, buckets + std::uint64_t{4} * (h % head[0]), index) || index < head[1]) return std::nullopt;
  for (;; ++index) {
    std::uint32_t link = 0;
    if (!load(image, chains + std::uint64_t{4} * (index - head[1]), link)) return std::nullopt;
    if ((link | 1U) == (h | 1U)) {
      if (auto found = match<C>(image, tables, index, name)) return found;
    }
    if ((link & 1U) != 0) return std::nullopt;
  }
}

template <class C> std::optional<ElfSymbol> find_in(std::span<const std::byte> image, std::string_view name) {
  const auto tables = read_tables<C>(image);
  if (!tables) return std::nullopt;
  // Some kernels give one of the two tables only.
  if (tables->hash != 0) return find_by_hash<C>(image, *tables, name);
  if (tables->gnu_hash != 0) return find_by_gnu_hash<C>(image, *tables, name);
  return std::nullopt;
}

}  // namespace

std::optional<ElfSymbol> find_symbol(std::span<const std::byte> image, std::string_view name) {
  unsigned char ident[EI_NIDENT] = {};
  if (!load(image, 0, ident) || std::memcmp(ident, ELFMAG, SELFMAG) != 0) return std::nullopt;
  if (ident[EI_CLASS] == ELFCLASS64) return find_in<Class64>(image, name);
  if (ident[EI_CLASS] == ELFCLASS32) return find_in<Class32>(image, name);
  return std::nullopt;
}

}  // namespace hpcvmm::vdso
