#include "daemon/names/store.hh"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <new>

namespace hpcvmm::daemon::names {

using wire::names::kStoreBytes;
using wire::names::Record;
using wire::names::Type;

namespace {
constexpr std::size_t up8(std::size_t n) { return (n + 7) & ~std::size_t{7}; }
constexpr std::size_t kStart = up8(sizeof(wire::names::Store));

/// Each path that is looked up tells its folders' names again.
bool says_the_same(const Record& entry, const FactView& f) {
  return entry.kind == f.head.kind && entry.child == f.head.child && entry.until_ns == f.head.until_ns &&
         entry.text() == f.text;
}
}  // namespace

Store::~Store() {
  if (store_ != nullptr) ::munmap(store_, kStoreBytes);
}

Status Store::open() {
  UniqueFd fd(::memfd_create("hpc-vmm-names", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd || ::ftruncate(fd.get(), kStoreBytes) != 0) return Error::last("memory for the store of names");
  void* const at = ::mmap(nullptr, kStoreBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (at == MAP_FAILED) return Error::last("mmap of the store of names");
  store_ = new (at) wire::names::Store;
  used_ = kStart;
  constexpr int kSealFutureWrite = 0x0010;  // F_SEAL_FUTURE_WRITE, Linux 5.1
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | kSealFutureWrite) != 0)
    return Error::last("seal of the store of names");
  fd_ = std::move(fd);
  return Unit{};
}

void Store::forget() {
  sequence_ = 0;
  opening_ = nullptr;
  if (store_ == nullptr || used_ == kStart) return;
  store_->generation.fetch_add(1, std::memory_order_seq_cst);
  for (auto& b : store_->buckets) b.store(0, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  used_ = kStart;
  store_->generation.fetch_add(1, std::memory_order_seq_cst);
}

bool Store::take(std::span<const std::byte> bytes) {
  Batch batch;
  if (store_ == nullptr || bytes.size() < sizeof batch) return false;
  std::memcpy(&batch, bytes.data(), sizeof batch);
  bytes = bytes.subspan(sizeof batch);
  if (batch.sequence == 1) {
    forget();
  } else if (sequence_ == 0 || batch.sequence != sequence_ + 1) {
    forget();
    return false;
  }
  sequence_ = batch.sequence;
  while (!bytes.empty()) {
    FactView f;
    if (take_fact(bytes, f) && take_one(f)) continue;
    forget();
    return false;
  }
  open_folder();
  // What was taken back is gone by now: whoever sees this number sees that, too.
  store_->epoch.store(batch.epoch, std::memory_order_release);
  return true;
}

bool Store::take_one(const FactView& f) {
  if (f.head.fact != Fact::Entry) open_folder();
  switch (f.head.fact) {
    case Fact::Root: store_->root = f.head.id; return true;
    case Fact::Folder: {
      Record* const r = add(Type::Folder, f);
      if (r == nullptr) return false;
      r->serial = ++serial_;
      opening_ = r;
      return true;
    }
    case Fact::Entry: {
      // The one that is being told counts only with its entries.
      const Record* folder = opening_;
      if (folder == nullptr || !(folder->id == f.head.id)) {
        open_folder();
        folder = wire::names::find(*store_, Type::Folder, f.head.id);
      }
      if (folder == nullptr) return true;  // it has been taken back meanwhile
      const std::uint64_t serial = folder->serial;
      const Record* const old = wire::names::find(*store_, Type::Entry, f.head.id, f.name);
      if (old != nullptr && old->serial == serial && says_the_same(*old, f)) return true;
      Record* const r = add(Type::Entry, f);
      if (r == nullptr) return false;
      r->serial = serial;
      r->alive.store(1, std::memory_order_release);
      // Only now: without an entry a name would not exist.
      kill(old);
      return true;
    }
    case Fact::Node: {
      kill(wire::names::find(*store_, Type::Node, f.head.id));
      Record* const r = add(Type::Node, f);
      if (r == nullptr) return false;
      r->alive.store(1, std::memory_order_release);
      return true;
    }
    case Fact::NoFolder: kill(wire::names::find(*store_, Type::Folder, f.head.id)); return true;
    case Fact::NoNode: kill(wire::names::find(*store_, Type::Node, f.head.id)); return true;
    case Fact::NoEntry: {
      // The listing said nothing of it, and now means nothing for it: an entry of unknown kind does.
      if (wire::names::find(*store_, Type::Folder, f.head.id) == nullptr) return true;
      FactView unknown = f;
      unknown.head.fact = Fact::Entry;
      unknown.head.kind = Kind::Unknown;
      unknown.text = {};
      unknown.head.text_bytes = 0;
      return take_one(unknown);
    }
  }
  return false;
}

/// nullptr: the store is full.
Record* Store::add(Type type, const FactView& f) {
  const std::size_t bytes = up8(sizeof(Record) + f.name.size() + f.text.size() + f.data.size());
  if (bytes > kStoreBytes - used_) return nullptr;
  auto* const base = reinterpret_cast<std::byte*>(store_);
  const auto at = static_cast<std::uint32_t>(used_);
  used_ += bytes;
  auto* const r = new (base + at) Record;
  r->hash = hash_of(type, f.head.id, f.name);
  r->type = type;
  r->kind = f.head.kind;
  r->flags = f.head.flags;
  r->name_bytes = static_cast<std::uint16_t>(f.name.size());
  r->text_bytes = static_cast<std::uint16_t>(f.text.size());
  r->id = f.head.id;
  r->child = f.head.child;
  r->until_ns = f.head.until_ns;
  r->owner = f.head.owner;
  r->mode = f.head.mode;
  auto* to = reinterpret_cast<std::byte*>(r + 1);
  const auto copy = [&to](const void* from, std::size_t n) {
    if (n != 0) std::memcpy(to, from, n);
    to += n;
  };
  copy(f.name.data(), f.name.size());
  copy(f.text.data(), f.text.size());
  copy(f.data.data(), f.data.size());
  auto& bucket = store_->buckets[r->hash % wire::names::kBuckets];
  r->next = bucket.load(std::memory_order_relaxed);
  bucket.store(at, std::memory_order_release);
  return r;
}

void Store::kill(const Record* r) {
  if (r != nullptr) const_cast<Record*>(r)->alive.store(0, std::memory_order_release);
}

/// A folder has been told with all its entries: it counts from now on.
void Store::open_folder() {
  if (opening_ == nullptr) return;
  const Record* const old = wire::names::find(*store_, Type::Folder, opening_->id);
  opening_->alive.store(1, std::memory_order_release);
  kill(old);
  opening_ = nullptr;
}

}  // namespace hpcvmm::daemon::names
