// What hpc-vmm mon (mosmon) shows: a vertical bar a node.  Pure.
#pragma once

#include <string>
#include <vector>

#include "cli/top/canvas.hh"
#include "cli/top/model.hh"

namespace hpcvmm::cli {

enum class MonWhat : std::uint8_t { Load, LogLoad, Speed, Memory, RawMemory, Util };
enum class MonNumbers : std::uint8_t { Auto, Wide, Vertical, Dense };

struct MonView {
  MonWhat what = MonWhat::Load;
  MonNumbers numbers = MonNumbers::Auto;
  bool total = false;
  bool dead = false;   ///< nodes that are down as well
  unsigned first = 0;  ///< the lowest node number shown; 0: all
  std::string message;
  bool help = false;
};

void draw_mon(const MonView& view, const Snapshot& s, Canvas& canvas);

/// False: quit.
bool mon_key(MonView& view, const Snapshot& s, int key);

/// The value that a node's bar is as high as, and the most it could be (0: no limit of its own).
struct MonValue {
  double value = 0, most = 0;
};
MonValue mon_value(const NodeRow& node, MonWhat what);

/// mosmon's letters: "-s", "-wt", "+5".  False: not one of them.
bool mon_option(const std::string& word, MonView& view);

}  // namespace hpcvmm::cli
