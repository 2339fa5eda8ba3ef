// mosrun and its wrappers: openMosix's command lines in the words of hpc-vmm launch.
#pragma once

#include <string>
#include <vector>

#include "cli/man/page.hh"
#include "cli/settings.hh"

namespace hpcvmm::cli {

struct MosrunRequest {
  std::string error;  ///< empty, or what is wrong; nothing else counts then
  bool help = false;
  SettingsWords settings;
  bool keep_lock = false;        ///< as whoever starts it has it
  std::vector<unsigned> one_of;  ///< -j: one of these, at random
  bool anywhere = false;         ///< -F: also where that node is down
  bool with_argv0 = false;       ///< -z: the first argument is argv[0]
  std::vector<std::string> program;
};

/// `words[0]`: the name it was called by: mosrun, nomig, runhome...  Pure.
MosrunRequest read_mosrun(const std::vector<std::string>& words);
/// hpc-vmm's arguments from "launch" on.  Pure.
std::vector<std::string> launch_words(const MosrunRequest& r);
/// The "set" of a {"op":"process"} request.  Pure.
nlohmann::json settings_request(const MosrunRequest& r);

/// Does not return where the program can be started.
int mosrun_main(int argc, char** argv);
/// `name`: as above.
Page mosrun_page(const std::string& name);

}  // namespace hpcvmm::cli
