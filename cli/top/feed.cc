#include "cli/top/feed.hh"

#include <chrono>
#include <ctime>

#include "cli/cluster/command.hh"

namespace hpcvmm::cli {

namespace {

std::string clock_text() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::localtime_r(&now, &parts);
  char text[16] = {};
  std::strftime(text, sizeof text, "%H:%M:%S", &parts);
  return text;
}

}  // namespace

Snapshot take_snapshot(const Client& client, bool with_processes) {
  const nlohmann::json nodes = client.ask({{"op", "nodes"}});
  const nlohmann::json ps = with_processes ? client.ask({{"op", "ps"}}) : nlohmann::json::object();
  Snapshot s = read_snapshot(nodes, ps, read_file("/etc/passwd"));
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  s.at_ms = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
  s.clock = clock_text();
  return s;
}

Feed::Feed(const Client& client, double interval_s, bool with_processes)
    : client_(client),
      interval_s_(interval_s),
      with_processes_(with_processes),
      latest_(std::make_shared<Snapshot>()),
      thread_([this] { run(); }) {}

Feed::~Feed() {
  {
    const std::scoped_lock hold(lock_);
    end_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

std::shared_ptr<const Snapshot> Feed::latest(std::uint64_t& number) {
  const std::scoped_lock hold(lock_);
  number = number_;
  return latest_;
}

void Feed::hurry() {
  {
    const std::scoped_lock hold(lock_);
    hurry_ = true;
  }
  wake_.notify_all();
}

void Feed::run() {
  // The first two come close together, so that CPU use shows at once.
  double wait = std::min(0.3, interval_s_);
  Snapshot before;
  for (;;) {
    Snapshot now = take_snapshot(client_, with_processes_);
    if (now.error.empty()) {
      set_cpu_percent(now, before);
      before = now;
    }
    std::unique_lock hold(lock_);
    latest_ = std::make_shared<Snapshot>(std::move(now));
    ++number_;
    wake_.wait_for(hold, std::chrono::duration<double>(wait), [this] { return end_ || hurry_; });
    if (end_) return;
    hurry_ = false;
    wait = interval_s_;
  }
}

}  // namespace hpcvmm::cli
