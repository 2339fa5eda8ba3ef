// The server's insides, shared by server.cc (the conversation) and threads.cc (what guest threads call).
#pragma once

#include <string>
#include <vector>

#include "vmm/gdb/breakpoints.hh"
#include "vmm/gdb/server.hh"
#include "vmm/gdb/session.hh"
#include "vmm/mem/lock.hh"

namespace hpcvmm::gdb {

/// /proc/self/mem: reaches what ptrace(2) reaches, so private text that is read-only can be written (copy on
/// write).
class ProcMemory final : public Memory {
 public:
  Status open(int (*hide_fd)(int));
  void close();
  std::size_t read(std::uint64_t at, void* to, std::size_t bytes) override;
  bool write(std::uint64_t at, const void* from, std::size_t bytes) override;
  int* descriptor() { return &fd_; }

 private:
  int fd_ = -1;
};

class Server final : public Target {
 public:
  explicit Server(Config config) : config_(std::move(config)) {}

  Status connect();
  Status launch_thread();

  // Target: on the server's thread, program stopped.
  [[nodiscard]] Abi abi() const override { return config_.abi; }
  [[nodiscard]] std::string_view exe() const override { return config_.exe; }
  [[nodiscard]] std::string_view auxv() const override { return config_.auxv; }
  [[nodiscard]] int pid() const override;
  std::vector<int> threads() override;
  std::string thread_name(int tid) override;
  bool get(int tid, RegisterFile& out) override;
  bool set(int tid, const RegisterFile& in) override;
  std::size_t read(std::uint64_t at, void* to, std::size_t bytes) override;
  bool write(std::uint64_t at, const void* from, std::size_t bytes) override;
  bool insert_breakpoint(std::uint64_t at) override;
  bool remove_breakpoint(std::uint64_t at) override;
  void pass_signals(std::uint64_t mask) override { passed.store(mask); }
  std::string siginfo(int tid) override;
  Files& files() override { return files_; }

  /// Makes every thread hold and `stop` the thing to report, unless somebody was first.
  bool claim(const Stop& stop);
  void wake_server() const;
  void close_all();
  [[nodiscard]] bool hidden_traps() const { return config_.hidden_traps; }

  mem::Lock lock;  // guards what follows
  std::vector<Thread*> list;
  bool running = false;
  Breakpoints breakpoints{memory_};
  // Without the lock:
  std::atomic<bool> detached{false};
  std::atomic<std::uint64_t> passed{0};
  std::atomic<std::uint32_t> told{0};  // gdb has heard of the program's end

 private:
  friend Status start(const Config& config, Thread& first);
  static void* main(void* self);
  void serve();
  bool converse();  // false: the connection or the debugging is over
  bool watch();     // until the program stops; false as above
  bool receive();
  void send_body(std::string_view body);
  void resume();
  void collect();
  bool bring_out(Thread& t);
  void detach();
  void kill_program();
  Thread* find(int tid);

  Config config_;
  ProcMemory memory_;
  Session session_{*this};
  PacketReader reader_;
  Files files_{config_.hide_fd};
  Stop stop_;
  int socket_ = -1;
  int event_ = -1;
};

/// The server of this process; nullptr: none.
Server* server();
void set_server(Server* s);

void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t value, std::int64_t most_ns = -1);
void futex_wake(std::atomic<std::uint32_t>& word);

}  // namespace hpcvmm::gdb
