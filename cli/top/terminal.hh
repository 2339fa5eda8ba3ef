// The terminal by ncurses: shows a Canvas, hears keys.
#pragma once

#include "cli/top/canvas.hh"

namespace hpcvmm::cli {

/// One at a time: ncurses has one screen.
class Terminal {
 public:
  Terminal() = default;
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;
  ~Terminal();

  /// False, after a message: stdin or stdout is no terminal, or nobody knows this kind of terminal.
  bool start();
  [[nodiscard]] int width() const;
  [[nodiscard]] int height() const;
  void show(const Canvas& canvas);
  /// A character, a Key, kResized, or kNothing after `timeout_ms`.
  int key(int timeout_ms);
  static constexpr int kNothing = -1, kResized = -2;

 private:
  bool started_ = false, colours_ = false;
};

/// Of the terminal, or $COLUMNS x $LINES, or 80x24: for --once.
void plain_size(int& width, int& height);

}  // namespace hpcvmm::cli
