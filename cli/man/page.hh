// What is told about a verb or a tool: one text for --help, the man page and the completion of shells.  Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace hpcvmm::cli {

struct PageOption {
  std::vector<std::string> names;  ///< "-v", "--verbose"; one without a dash: a positional
  std::string value;               ///< what follows it, "NODE"; empty: nothing does
  std::string text;
  std::string usual;                 ///< what it is when it is not given; empty: nothing to say
  std::vector<std::string> choices;  ///< all that may follow; empty: anything
  bool required = false;
};

struct Page {
  std::string name;     ///< "launch", or "mosrun"
  std::string summary;  ///< one line, no full stop
  std::vector<std::string> usage;
  std::vector<PageOption> positionals, options;
  std::vector<PageOption> keys;  ///< of a file
  std::string footer;
  std::vector<Page> verbs;
  bool old_name = false;              ///< a program of its own, not a verb of hpc-vmm only
  std::string section = "1";          ///< of the manual; from 5 on `name` is the page's whole name
  std::vector<std::string> see_also;  ///< "hpcd(8)"; hpc-vmm(1) is always among them
};

nlohmann::json page_json(const Page& page);
/// What is missing is empty.
Page page_of_json(const nlohmann::json& j);

/// For tools whose command line is too old for CLI11.
std::string help_text(const Page& page);

}  // namespace hpcvmm::cli
