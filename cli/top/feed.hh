// Snapshots of the cluster, taken again and again beside the terminal.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "cli/tools/client.hh"
#include "cli/top/model.hh"

namespace hpcvmm::cli {

/// One, now.
Snapshot take_snapshot(const Client& client, bool with_processes);

class Feed {
 public:
  /// Units: seconds between snapshots.
  Feed(const Client& client, double interval_s, bool with_processes);
  Feed(const Feed&) = delete;
  Feed& operator=(const Feed&) = delete;
  ~Feed();

  /// The newest, with CPU use since the one before; its number grows with each.
  std::shared_ptr<const Snapshot> latest(std::uint64_t& number);
  /// Takes one at once.
  void hurry();

 private:
  void run();

  const Client& client_;
  const double interval_s_;
  const bool with_processes_;
  std::mutex lock_;
  std::condition_variable wake_;
  std::shared_ptr<const Snapshot> latest_;
  std::uint64_t number_ = 0;
  bool hurry_ = false, end_ = false;
  std::thread thread_;  // last: it uses the others
};

}  // namespace hpcvmm::cli
