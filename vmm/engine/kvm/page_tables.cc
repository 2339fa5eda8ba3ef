#include "vmm/engine/kvm/page_tables.hh"

#include <sys/mman.h>

#include <algorithm>

#include "vmm/mem/arena.hh"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23  // Linux 5.14
#endif

namespace hpcvmm::engine::kvm {
namespace {

constexpr std::uint64_t kFrame = 0x000f'ffff'ffff'f000;
constexpr std::uint64_t kStep = std::uint64_t{2} << 20;
constexpr std::uint64_t kStep1G = std::uint64_t{1} << 30;
constexpr std::size_t kFirstTables = std::size_t{24} * kPageSize;
constexpr std::uint64_t kStep512G = std::uint64_t{1} << 39;

void store(std::uint64_t* entry, std::uint64_t value) { __atomic_store_n(entry, value, __ATOMIC_RELEASE); }
std::uint64_t load(const std::uint64_t* entry) { return __atomic_load_n(entry, __ATOMIC_ACQUIRE); }

unsigned index_at(std::uint64_t va, unsigned level) {  // level 0: page table .. 3: PML4
  return static_cast<unsigned>(va >> (12 + 9 * level)) & 511;
}

}  // namespace

Status PageTables::start(AddChunk add, void* self) {
  add_ = add;
  self_ = self;
  HPCVMM_TRY(const Page root, take_page());
  root_ = root.gpa;
  return Unit{};
}

Result<PageTables::Page> PageTables::take_page() {
  if (chunk_count_ == 0 || chunk_used_ == chunks_[chunk_count_ - 1].bytes) {
    if (chunk_count_ == kSystemChunks) return Error::of(ENOMEM, "guest page tables: all chunks used");
    const std::uint64_t bytes = chunk_count_ == 0 ? kSystemFirstBytes : kSystemChunkBytes;
    auto* host = static_cast<char*>(mem::arena_map(bytes));
    if (host == nullptr) return Error::last("mmap of guest page tables");
    // What every program needs, in one go; a kernel before 5.14 brings the pages one by one.
    if (chunk_count_ == 0) ::madvise(host, kFirstTables, MADV_POPULATE_WRITE);
    HPCVMM_CHECK_OK(add_(self_, kSystemGpa + chunk_count_ * kSystemChunkBytes, host, bytes));
    chunks_[chunk_count_++] = {host, bytes};
    chunk_used_ = 0;
  }
  const unsigned k = chunk_count_ - 1;
  Page p{kSystemGpa + k * kSystemChunkBytes + chunk_used_,
         reinterpret_cast<std::uint64_t*>(chunks_[k].host + chunk_used_)};
  chunk_used_ += kPageSize;
  ++used_pages_;
  return p;
}

std::uint64_t* PageTables::host_of(std::uint64_t entry) const {
  const std::uint64_t at = (entry & kFrame) - kSystemGpa;
  return reinterpret_cast<std::uint64_t*>(chunks_[at / kSystemChunkBytes].host + at % kSystemChunkBytes);
}

Result<std::uint64_t*> PageTables::descend(std::uint64_t* table, unsigned index) {
  const std::uint64_t entry = load(&table[index]);
  if ((entry & kPresent) != 0) return host_of(entry);
  HPCVMM_TRY(const Page fresh, take_page());
  store(&table[index], fresh.gpa | kPresent | kWritable | kUser | kAccessed);
  return fresh.host;
}

Result<std::uint64_t*> PageTables::directory_entry(std::uint64_t va) {
  HPCVMM_TRY(std::uint64_t* const pdpt, descend(host_of(root_), index_at(va, 3)));
  HPCVMM_TRY(std::uint64_t* const directory, descend(pdpt, index_at(va, 2)));
  return &directory[index_at(va, 1)];
}

Status PageTables::set_page(std::uint64_t va, std::uint64_t gpa, std::uint64_t bits) {
  return set_run(va, gpa, 1, bits);
}

Status PageTables::set_run(std::uint64_t va, std::uint64_t gpa, unsigned pages, std::uint64_t bits) {
  HPCVMM_TRY(std::uint64_t* const pde, directory_entry(va));
  // A 2 MiB entry here is left from a mapping that has since been cut or joined with the same rights; small
  // entries below replace it.  The table is filled before it becomes visible.
  std::uint64_t entry = load(pde);
  std::uint64_t* table = nullptr;
  if ((entry & kPresent) != 0 && (entry & kLarge) == 0) {
    table = host_of(entry);
  } else {
    HPCVMM_TRY(const Page fresh, take_page());
    table = fresh.host;
    entry = fresh.gpa | kPresent | kWritable | kUser | kAccessed;
  }
  const unsigned first = index_at(va, 0);
  for (unsigned i = 0; i < pages; ++i)
    store(&table[first + i], (gpa + i * kPageSize) | bits | kPresent | kAccessed | kDirty);
  store(pde, entry);
  return Unit{};
}

Status PageTables::set_large(std::uint64_t va, std::uint64_t gpa, std::uint64_t bits) {
  HPCVMM_TRY(std::uint64_t* const pde, directory_entry(va));
  store(pde, gpa | bits | kPresent | kAccessed | kDirty | kLarge);
  return Unit{};
}

void PageTables::clear_directory(std::uint64_t* directory, std::uint64_t begin, std::uint64_t end) {
  for (std::uint64_t va = begin; va < end;) {
    const std::uint64_t next = std::min(end, (va / kStep + 1) * kStep);
    std::uint64_t* const pde = &directory[index_at(va, 1)];
    const std::uint64_t entry = load(pde);
    if ((entry & kPresent) != 0) {
      if ((entry & kLarge) != 0) {
        store(pde, 0);
      } else {
        std::uint64_t* const table = host_of(entry);
        for (std::uint64_t page = va; page < next; page += kPageSize)
          if (load(&table[index_at(page, 0)]) != 0) store(&table[index_at(page, 0)], 0);
      }
    }
    va = next;
  }
}

void PageTables::clear(std::uint64_t begin, std::uint64_t end) {
  std::uint64_t* const pml4 = host_of(root_);
  for (std::uint64_t va = begin; va < end;) {
    const std::uint64_t upper = load(&pml4[index_at(va, 3)]);
    const std::uint64_t next512 = (va / kStep512G + 1) * kStep512G;
    if ((upper & kPresent) == 0) {
      va = next512;
      continue;
    }
    const std::uint64_t next = std::min(end, (va / kStep1G + 1) * kStep1G);
    const std::uint64_t entry = load(&host_of(upper)[index_at(va, 2)]);
    if ((entry & kPresent) != 0) clear_directory(host_of(entry), va, next);
    va = next;
  }
}

}  // namespace hpcvmm::engine::kvm
