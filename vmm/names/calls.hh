// Calls that a remote answers by itself out of what it knows of the home's names and files.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "hpcvmm/base/cpu.hh"
#include "vmm/names/asked.hh"
#include "vmm/names/messages.hh"
#include "vmm/names/reader.hh"

namespace hpcvmm::names {

/// The names of one process on this node, and the files it has opened here.
///
/// Opening, reading and closing a file of the store happens here as long as nothing at home depends on it;
/// what is open is made known to home (`tell`) before a call that may, and before the process leaves.  Only
/// while one thread runs. Threads: answer(), before_leaving() and returned() the vCPU's; set(), require() and
/// flush() may come between them from the thread that receives.
class Calls {
 public:
  using Ask = std::function<void(std::string_view path)>;
  using Tell = std::function<void(const std::vector<std::byte>& reopens, std::uint32_t count)>;
  /// `ask`: hpcd is to learn of that absolute path.  `tell`: home is to open these (Reopen and its path,
  /// each).
  Calls(Ask ask, Tell tell) : ask_(std::move(ask)), tell_(std::move(tell)) {}

  bool open(const void* store) { return reader_.open(store); }
  void set(const Circumstances& c);
  /// Home was that far when it let the process run.
  void require(std::uint64_t epoch);

  /// Makes the call if everything about it is known here; false: nothing has happened.  `result` as the
  /// kernel's; `alone`: no other thread of the process runs.
  bool answer(const Asked& asked, std::int64_t& result, bool alone);
  /// The thread is about to leave the guest for home, with a call or (nullptr) for another reason.
  /// Returns whether home shall say which descriptors are in use.
  bool before_leaving(const Asked* asked, const GuestRegs& regs);
  /// It was let run again from here.
  void returned(const GuestRegs& regs);
  /// Everything that is open here becomes home's.
  void flush();

 private:
  struct File {
    int descriptor;
    int flags;
    bool small;  ///< opened without O_LARGEFILE by an IA32 program
    std::uint64_t position;
    Id id;
    std::uint64_t generation;
    const Record* record;
    std::string path;
  };

  bool begin_call();
  bool answer_now(const Asked& a, bool alone);
  [[nodiscard]] bool is_fresh() const;
  bool is_known(int descriptor) const { return find(descriptor) != nullptr; }
  const File* find(int descriptor) const;
  File* find(int descriptor) { return const_cast<File*>(static_cast<const Calls*>(this)->find(descriptor)); }
  bool path_of(std::uint64_t guest, std::string& out) const;
  Found look(std::uint64_t path, int folder, bool follow, std::string& text);
  void miss(const std::string& path);
  bool is_valid(const File& f) const;
  bool done(std::int64_t result) const;

  bool readlink(int folder, std::uint64_t path, std::uint64_t to, std::uint64_t bytes);
  bool access(int folder, std::uint64_t path, std::uint64_t mode);
  bool status(int folder, std::uint64_t path, std::uint64_t to, bool follow);
  bool open_file(const Asked& a, int folder, std::uint64_t path, std::uint64_t flags, bool alone);
  bool read(File& f, std::uint64_t to, std::uint64_t bytes, std::uint64_t at, bool moves);
  bool seek(File& f, const Asked& a);
  bool status_at(const Asked& a, int flags, std::uint64_t to, bool alone);
  bool put_status(const Record* node, std::uint64_t to);
  bool close(int descriptor);
  static bool keeps_descriptors(const Asked& a, std::int64_t& descriptor);

  Ask ask_;
  Tell tell_;
  Reader reader_;
  Circumstances circumstances_;
  std::atomic<std::uint64_t> required_{0};
  std::atomic<bool> poked_{false};
  // circumstances_, files_ and what follows; never held while guest memory is touched: the fault may need who
  // waits for it.  An open file is its thread's own all the same: there is no other one.
  std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
  std::vector<File> files_;
  std::uint64_t used_ = 0;  // descriptors in use, here or at home
  bool used_known_ = false;
  enum class Last : std::uint8_t { Nothing, Open, Close, Other } last_ = Last::Nothing;
  std::int64_t last_descriptor_ = 0;
  std::uint64_t last_rip_ = 0, last_rsp_ = 0;
  std::vector<std::size_t> asked_;  // hashes of paths hpcd was asked for
};

}  // namespace hpcvmm::names
