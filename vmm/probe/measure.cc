#include <sys/utsname.h>

#include "vmm/probe/facts.hh"
#include "vmm/probe/guarded.hh"

namespace hpcvmm::probe {

std::string_view to_string(State state) {
  switch (state) {
    case State::Ok: return "ok";
    case State::Degraded: return "degraded";
    case State::Missing: return "missing";
  }
  return "missing";
}

void measure(HostFacts& facts) {
  const double begin = now_us();
  facts = {};
  utsname name{};
  ::uname(&name);
  facts.kernel = name.release;
  facts.machine = name.machine;
  add_engine_items(facts);
  add_system_items(facts);
  facts.elapsed_ms = (now_us() - begin) / 1000;
}

}  // namespace hpcvmm::probe
