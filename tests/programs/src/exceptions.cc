// Exceptions through many frames, across threads and out of destructors' reach; futures, async, thread_local.
#include <atomic>
#include <cstdio>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {
std::atomic<int> alive{0};
thread_local int depth_reached = 0;

struct Guard {
  Guard() { ++alive; }
  ~Guard() { --alive; }
};

int descend(int depth, int limit) {
  Guard guard;
  depth_reached = depth;
  if (depth == limit) throw std::runtime_error("at depth " + std::to_string(depth));
  return descend(depth + 1, limit) + 1;
}

std::string attempt(int limit) {
  try {
    descend(0, limit);
  } catch (const std::exception& e) {
    return e.what();
  }
  return "nothing";
}
}  // namespace

int main() {
  std::printf("%s, alive %d\n", attempt(500).c_str(), alive.load());
  std::vector<std::future<std::string>> results;
  for (int i = 0; i < 8; ++i) results.push_back(std::async(std::launch::async, attempt, 10 * i + 1));
  for (auto& result : results) std::printf("%s\n", result.get().c_str());
  auto failing = std::async(std::launch::async, [] { return descend(0, 3); });
  try {
    failing.get();
  } catch (const std::runtime_error& e) {
    std::printf("through a future: %s\n", e.what());
  }
  long caught = 0;
  std::vector<std::thread> threads;
  std::atomic<long> total{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&total] {
      for (int i = 0; i < 2000; ++i) {
        try {
          if (i % 2 == 0) throw i;
          descend(0, 2);
        } catch (int n) {
          total += n;
        } catch (...) {
          total += 1;
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  try {
    std::vector<int>(3).at(5);
  } catch (const std::out_of_range&) {
    ++caught;
  }
  try {
    try {
      throw 1;
    } catch (...) {
      std::throw_with_nested(std::logic_error("outer"));
    }
  } catch (const std::logic_error& e) {
    ++caught;
  }
  std::printf("total %ld caught %ld alive %d\n", total.load(), caught, alive.load());
  return 0;
}
