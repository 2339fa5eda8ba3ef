// The node's side: what it has been told of one home's names, in memory that the remotes of one user of that
// home read.
#pragma once

#include <cstdint>
#include <span>

#include "daemon/names/facts.hh"
#include "hpcvmm/base/result.hh"
#include "hpcvmm/base/unique_fd.hh"

namespace hpcvmm::daemon::names {

/// Threads: one.
class Store {
 public:
  Store() = default;
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;
  ~Store();

  /// Makes the memory.  Errors: those of memfd_create, mmap, fcntl.
  Status open();
  /// To be mapped read-only by remotes.
  [[nodiscard]] int fd() const { return fd_.get(); }
  /// A batch of the home.  False: it is broken, or one before it is missing; everything has been forgotten,
  /// and the home is to begin anew.
  bool take(std::span<const std::byte> batch);
  /// The home is lost, or may have changed without our hearing of it.
  void forget();

 private:
  bool take_one(const FactView& f);
  wire::names::Record* add(wire::names::Type type, const FactView& f);
  void open_folder();
  static void kill(const wire::names::Record* r);

  UniqueFd fd_;
  wire::names::Store* store_ = nullptr;
  std::size_t used_ = 0;
  std::uint64_t sequence_ = 0;  // of the last batch; 0: none counts
  std::uint64_t serial_ = 0;
  wire::names::Record* opening_ = nullptr;  // a folder whose entries are being told
};

}  // namespace hpcvmm::daemon::names
