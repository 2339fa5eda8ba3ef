// What hpc-vmm top shows, and what its keys do.  Pure: a terminal only carries it out.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/top/canvas.hh"
#include "cli/top/model.hh"

namespace hpcvmm::cli {

/// Keys that are no characters; ncurses' numbers are translated into these.
enum Key : int {
  kUp = 1000,
  kDown,
  kLeft,
  kRight,
  kPageUp,
  kPageDown,
  kHome,
  kEnd,
  kBackspace,
  kEscape,
  kEnter
};

/// What a key wants done outside.
struct Action {
  enum class Kind : std::uint8_t { Quit, Refresh, Request, Kill };
  Kind kind = Kind::Refresh;
  nlohmann::json request;  ///< Request: for hpcd
  std::string what;        ///< "move 4711 to node 2", for the message about how it went
  unsigned home = 0;
  int pid = 0, signal = 0;  ///< Kill
  bool explain = false;     ///< the answer is a text to show: why
};

struct TopView {
  SortBy sort = SortBy::Cpu;
  unsigned home = 0;  ///< of the process under the cursor
  int pid = 0;        ///< 0: nothing is
  int first = 0;      ///< the process in the first row
  int first_node = 0;
  std::string message;               ///< the last line, until the next key
  char asking = 0;                   ///< the key that has asked for a line: 'm' or 'k'; 0: nothing
  std::string typed;                 ///< of that line
  std::vector<std::string> overlay;  ///< a text over the processes; empty: none
};

/// `view` is corrected where what it points at has gone.  Units: `canvas` is the whole screen.
void draw_top(TopView& view, const Snapshot& s, Canvas& canvas);

/// nullopt: the view has changed at most.
std::optional<Action> top_key(TopView& view, const Snapshot& s, int key, int height);

/// How many rows of nodes there are on a screen of this height.
int node_rows(const Snapshot& s, int height);

/// "[||||      ]", `share` of it full.
std::string bar(double share, int width);
/// The text of a {"op":"why"} answer in lines no wider than `width`.
std::vector<std::string> why_lines(const nlohmann::json& answer, std::size_t width);

}  // namespace hpcvmm::cli
