// Software breakpoints: which addresses hold an int3, and what the program has there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>

namespace hpcvmm::gdb {

/// Guest memory as the stub reaches it.  Threads: all guest threads are stopped, or `Breakpoints`'s lock is
/// held.
class Memory {
 public:
  Memory() = default;
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  virtual ~Memory() = default;
  /// Returns how many bytes, from the first, could be read; 0 none.
  virtual std::size_t read(std::uint64_t at, void* to, std::size_t bytes) = 0;
  /// Writes all or says false; read-only private text can be written.
  virtual bool write(std::uint64_t at, const void* from, std::size_t bytes) = 0;
};

/// Keeps them hidden: read() shows the program's bytes, write() changes what will be there once they are
/// gone.
class Breakpoints {
 public:
  explicit Breakpoints(Memory& memory) : memory_(memory) {}
  /// False: the address cannot be written.  Inserting twice is one breakpoint.
  bool insert(std::uint64_t at);
  bool remove(std::uint64_t at);
  [[nodiscard]] bool contains(std::uint64_t at) const { return saved_.find(at) != saved_.end(); }
  std::size_t read(std::uint64_t at, void* to, std::size_t bytes);
  bool write(std::uint64_t at, const void* from, std::size_t bytes);
  /// Takes all out of memory, or puts them back; the table stays.  For the time of a vfork.
  void lift();
  void put_back();
  /// Takes all out through `memory`, which may be another process's view, and forgets them.
  void clear(Memory& memory);

 private:
  Memory& memory_;
  std::map<std::uint64_t, std::uint8_t> saved_;
  unsigned lifted_ = 0;
};

}  // namespace hpcvmm::gdb
