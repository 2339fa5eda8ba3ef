// hpc-vmm-bench: the host's floors, and the parts of a system call that cost no host call, as Google
// Benchmark sees them.  bench/table.py runs the floors beside the guests; by itself: hpc-vmm-bench
// --benchmark_filter=floor
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "bench/floor.hh"
#include "vmm/probe/guarded.hh"
#include "vmm/sys/row.hh"

namespace {

using hpcvmm::Result;

/// The median of state.range(0) batches: one of them that something else on the machine has met must not
/// count.
void report(benchmark::State& state, Result<double> (*batch)()) {
  for ([[maybe_unused]] auto iteration : state) {
    std::vector<double> times;
    for (std::int64_t i = 0; i < state.range(0); ++i) {
      const auto us = batch();
      if (!us) {
        const std::string message = std::string(us.error().op) + ": " + std::strerror(us.error().code);
        state.SkipWithError(message.c_str());
        return;
      }
      times.push_back(*us);
    }
    state.SetIterationTime(hpcvmm::probe::median(times.data(), static_cast<unsigned>(times.size())) * 1e-6);
  }
}

/// The words of the environment variable, split at spaces.
std::vector<std::string> command_of(const char* variable) {
  std::vector<std::string> words;
  const char* const text = std::getenv(variable);
  std::string word;
  for (const char* p = text != nullptr ? text : ""; *p != 0; ++p) {
    if (*p != ' ') {
      word += *p;
    } else if (!word.empty()) {
      words.push_back(std::exchange(word, {}));
    }
  }
  if (!word.empty()) words.push_back(word);
  return words;
}

/// Calls `with` with the command that is to be run.
Result<double> with_command(Result<double> (*with)(const char* const*)) {
  static const std::vector<std::string> words = command_of("HPCVMM_BENCH_COMMAND");
  if (words.empty()) return hpcvmm::Error::of(EINVAL, "HPCVMM_BENCH_COMMAND is not set");
  std::vector<const char*> argv;
  for (const std::string& w : words) argv.push_back(w.c_str());
  argv.push_back(nullptr);
  return with(argv.data());
}

Result<double> spawn_command() { return with_command(hpcvmm::bench::spawn); }
Result<double> start_floor() { return with_command(hpcvmm::bench::start_in_vm); }

Result<double> launch_floor() {
  HPCVMM_TRY(const double process, spawn_command());
  HPCVMM_TRY(const double vm, hpcvmm::bench::create_vm());
  return process + vm;
}

void find_row(benchmark::State& state, hpcvmm::Abi abi) {
  std::uint32_t nr = 0;
  for ([[maybe_unused]] auto iteration : state) {
    benchmark::DoNotOptimize(hpcvmm::sys::find_row(abi, nr));
    nr = (nr + 7) & 0xff;
  }
}

// One iteration of a fixed number of batches: the time reported is that of one of a batch's many operations,
// so the library's own choice would take minutes.
#define HPCVMM_FLOOR(name, batch, batches) \
  BENCHMARK_CAPTURE(report, name, batch)   \
      ->Name(#name)                        \
      ->Arg(batches)                       \
      ->UseManualTime()                    \
      ->Iterations(1)                      \
      ->Unit(benchmark::kMicrosecond)

HPCVMM_FLOOR(floor_exit, hpcvmm::bench::exit_round_trip, 5);
HPCVMM_FLOOR(floor_touch_4k, hpcvmm::bench::first_touch_4k, 8);
HPCVMM_FLOOR(floor_touch_2m, hpcvmm::bench::first_touch_2m, 8);
HPCVMM_FLOOR(floor_cow, hpcvmm::bench::copy_on_write, 8);
HPCVMM_FLOOR(floor_create_vm, hpcvmm::bench::create_vm, 10);
HPCVMM_FLOOR(floor_dispatch_x64, hpcvmm::bench::dispatch_x64, 8);
HPCVMM_FLOOR(floor_dispatch_ia32, hpcvmm::bench::dispatch_ia32, 8);
HPCVMM_FLOOR(floor_cpuid, hpcvmm::bench::cpuid, 8);
// These run $HPCVMM_BENCH_COMMAND.
HPCVMM_FLOOR(floor_start_in_vm, start_floor, 5);
HPCVMM_FLOOR(floor_launch, launch_floor, 20);
HPCVMM_FLOOR(spawn, spawn_command, 20);
BENCHMARK_CAPTURE(find_row, x64, hpcvmm::Abi::X64)->Name("find_row_x64");
BENCHMARK_CAPTURE(find_row, ia32, hpcvmm::Abi::Ia32)->Name("find_row_ia32");

}  // namespace

BENCHMARK_MAIN();
