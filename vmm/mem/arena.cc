#include "vmm/mem/arena.hh"

#include <sys/mman.h>

#include <array>
#include <bit>
#include <cstring>

#include "hpcvmm/base/layout.hh"
#include "vmm/mem/lock.hh"

namespace hpcvmm::mem {
namespace {

// The arena's address space is handed out once, upwards; 64 GiB outlast any process, because what is given
// back is kept in `free_stacks` (thread stacks) or by the heap's size classes.
std::atomic<std::uint64_t> g_next{kArenaBegin};

std::uint64_t take_address(std::size_t bytes, std::size_t align) {
  const std::uint64_t need = page_up(bytes) + kPageSize;  // one page of guard
  std::uint64_t at = g_next.load(std::memory_order_relaxed);
  std::uint64_t aligned = 0;
  do {
    aligned = (at + align - 1) & ~(static_cast<std::uint64_t>(align) - 1);
    if (aligned + need > kArenaEnd) return 0;
  } while (!g_next.compare_exchange_weak(at, aligned + need));
  return aligned;
}

}  // namespace

void* arena_map(std::size_t bytes, std::size_t align) {
  const std::uint64_t at = take_address(bytes, align);
  if (at == 0) return nullptr;
  void* p = ::mmap(reinterpret_cast<void*>(at), page_up(bytes), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return nullptr;
  // Core files are the guest's: nothing of the VMM belongs into them.
  ::madvise(p, page_up(bytes), MADV_DONTDUMP);
  return p;
}

void* arena_map_fd(int fd, std::size_t bytes) {
  const std::uint64_t at = take_address(bytes, kPageSize);
  if (at == 0) return nullptr;
  void* p = ::mmap(reinterpret_cast<void*>(at), page_up(bytes), PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
  return p == MAP_FAILED ? nullptr : p;
}

void arena_unmap(void* at, std::size_t bytes) { ::munmap(at, page_up(bytes)); }

std::uint64_t arena_reserve(std::size_t bytes, std::size_t align) { return take_address(bytes, align); }

// The heap: powers of two from 16 bytes to 64 KiB in free lists, larger blocks mapped one by one.  libc's own
// malloc cannot be used: it grows by brk and mmap, both of which belong to the guest here, and its lock would
// be stuck in a raw fork child.
namespace {

constexpr std::size_t kHeader = 16;
constexpr std::size_t kClasses = 13;  // 32 B .. 128 KiB including the header
constexpr std::size_t kChunk = std::size_t{256} << 10;

struct Block {
  std::size_t bytes;  // of the whole block, header included
  std::size_t shift;  // distance from block start to the pointer given out (aligned blocks)
};
struct FreeBlock {
  FreeBlock* next;
};

struct Heap {
  Lock lock;
  std::array<FreeBlock*, kClasses> free{};
  char* chunk = nullptr;
  std::size_t chunk_left = 0;
} g_heap;

std::size_t class_of(std::size_t bytes) {
  return bytes <= 32 ? 0 : static_cast<std::size_t>(std::bit_width(bytes - 1)) - 5;
}

void* take_block(std::size_t total) {
  const std::size_t k = class_of(total);
  if (k >= kClasses) return arena_map(total);
  if (FreeBlock* b = g_heap.free[k]) {
    g_heap.free[k] = b->next;
    return b;
  }
  const std::size_t bytes = std::size_t{32} << k;
  if (g_heap.chunk_left < bytes) {
    auto* fresh = static_cast<char*>(arena_map(kChunk));
    if (fresh == nullptr) return nullptr;
    g_heap.chunk = fresh;
    g_heap.chunk_left = kChunk;
  }
  void* p = g_heap.chunk;
  g_heap.chunk += bytes;
  g_heap.chunk_left -= bytes;
  return p;
}

void* allocate(std::size_t bytes, std::size_t align) {
  if (bytes > (std::size_t{1} << 46)) return nullptr;
  const std::size_t total = bytes + kHeader + (align > 16 ? align : 0);
  g_heap.lock.lock();
  auto* base = static_cast<char*>(take_block(total));
  g_heap.lock.unlock();
  if (base == nullptr) return nullptr;
  auto at = reinterpret_cast<std::uintptr_t>(base) + kHeader;
  at = (at + align - 1) & ~(static_cast<std::uintptr_t>(align) - 1);
  auto* header = reinterpret_cast<Block*>(at - kHeader);
  header->bytes = total;
  header->shift = at - reinterpret_cast<std::uintptr_t>(base);
  return reinterpret_cast<void*>(at);
}

void release(void* p) {
  auto* header = reinterpret_cast<Block*>(static_cast<char*>(p) - kHeader);
  const std::size_t total = header->bytes;
  auto* base = static_cast<char*>(p) - header->shift;
  const std::size_t k = class_of(total);
  if (k >= kClasses) {
    arena_unmap(base, total);
    return;
  }
  auto* b = reinterpret_cast<FreeBlock*>(base);
  g_heap.lock.lock();
  b->next = g_heap.free[k];
  g_heap.free[k] = b;
  g_heap.lock.unlock();
}

std::size_t usable(void* p) {
  auto* header = reinterpret_cast<Block*>(static_cast<char*>(p) - kHeader);
  const std::size_t k = class_of(header->bytes);
  const std::size_t whole = k >= kClasses ? page_up(header->bytes) : std::size_t{32} << k;
  return whole - header->shift;
}

}  // namespace

void heap_lock() { g_heap.lock.lock(); }
void heap_unlock() { g_heap.lock.unlock(); }

}  // namespace hpcvmm::mem

// The C allocation functions of the whole executable.  Source: C11 7.22.3, POSIX posix_memalign.
using hpcvmm::mem::allocate;
extern "C" {
void* malloc(std::size_t n) { return allocate(n, 16); }
void free(void* p) {
  if (p != nullptr) hpcvmm::mem::release(p);
}
void* calloc(std::size_t n, std::size_t size) {
  std::size_t bytes = 0;
  if (__builtin_mul_overflow(n, size, &bytes)) return nullptr;
  void* p = allocate(bytes, 16);
  if (p != nullptr) std::memset(p, 0, bytes);
  return p;
}
void* realloc(void* p, std::size_t n) {
  if (p == nullptr) return allocate(n, 16);
  const std::size_t have = hpcvmm::mem::usable(p);
  if (n <= have) return p;
  void* q = allocate(n, 16);
  if (q == nullptr) return nullptr;
  std::memcpy(q, p, have);
  hpcvmm::mem::release(p);
  return q;
}
void* memalign(std::size_t align, std::size_t n) { return allocate(n, align < 16 ? 16 : align); }
void* aligned_alloc(std::size_t align, std::size_t n) { return memalign(align, n); }
int posix_memalign(void** out, std::size_t align, std::size_t n) {
  *out = memalign(align, n);
  return *out == nullptr ? ENOMEM : 0;
}
std::size_t malloc_usable_size(void* p) { return p == nullptr ? 0 : hpcvmm::mem::usable(p); }
}
