#include "cli/doctor/doctor.hh"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "cli/doctor/report.hh"
#include "vmm/probe/engine_facts.hh"
#include "vmm/probe/facts.hh"

namespace hpcvmm::cli {

int doctor_main(bool json) {
  probe::HostFacts facts;
  probe::measure(facts);
  // `launch` would otherwise go on using what it measured before the user followed a remedy.
  const Status stored = facts.conclusive
                            ? probe::store_engine_cache(facts.engines, probe::engine_cache_path())
                            : Status(Error::of(EAGAIN, "a measurement reached its limit"));
  // NOLINTNEXTLINE(concurrency-mt-unsafe): the caller is single-threaded
  const bool colour = ::isatty(STDOUT_FILENO) == 1 && ::getenv("NO_COLOR") == nullptr;
  std::string text = json ? report_json(facts) : report_text(facts, colour);
  if (!json && !stored)
    text += "\nThe result could not be kept for launch (" + std::string(stored.error().op) +
            "): each launch measures again, a few milliseconds.\n";
  if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0) {
    std::perror("hpc-vmm doctor: writing the report");
    return 1;
  }
  std::string reason;
  return probe::choose_engine(Abi::X64, facts.engines, reason) ? 0 : 1;
}

}  // namespace hpcvmm::cli
