// Everything `hpc-vmm doctor` knows about a host.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/probe/engine_facts.hh"

namespace hpcvmm::probe {

enum class State : std::uint8_t { Ok, Degraded, Missing };
std::string_view to_string(State state);

/// One measured fact.
struct Item {
  const char* section;  ///< "kvm", "direct", "memory", "host", "network"
  const char* key;      ///< stable name for scripts, unique in its section
  State state;
  std::string value;        ///< for people
  double number = 0;        ///< for scripts, in `unit`; only where `unit` is not empty
  const char* unit = "";    ///< "us", "mips", "count", "bytes"
  std::string explanation;  ///< what it means here
  std::string remedy;       ///< what to do about it; empty when the state is Ok
};

struct HostFacts {
  std::string kernel, machine;
  EngineFacts engines;
  bool conclusive =
      true;  ///< false: a time limit or a shortage decided a fact in `engines`; do not keep them
  bool looks_like_pvm = false;
  double elapsed_ms = 0;
  std::vector<Item> items;
};

/// Measures the host.  Each measurement runs in a child with a time limit, so this returns within 6 s on any
/// host, under 1 s on a sound one.  Threads: single-threaded caller; leaves no process, file or mapping
/// behind.
void measure(HostFacts& facts);

/// The parts of measure(): they append to facts.items.
void add_engine_items(HostFacts& facts);  // kvm and direct; fills facts.engines
void add_system_items(HostFacts& facts);  // userfaultfd, huge pages, privileges, devices, CPU

}  // namespace hpcvmm::probe
