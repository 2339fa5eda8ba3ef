#include "cli/top/terminal.hh"

#define NCURSES_NOMACROS 1  // functions, not macros named like words of ours
#include <curses.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "cli/tools/client.hh"
#include "cli/top/top_screen.hh"

namespace hpcvmm::cli {

namespace {

constexpr short kGoodPair = 1, kBusyPair = 2, kFullPair = 3, kTitlePair = 4;

chtype look(Style style, bool colours) {
  const auto pair = [colours](short n, chtype otherwise) {
    return colours ? static_cast<chtype>(COLOR_PAIR(n)) : otherwise;
  };
  switch (style) {
    case Style::Plain: return A_NORMAL;
    case Style::Bold: return A_BOLD;
    case Style::Dim: return A_DIM;
    case Style::Reverse:
    case Style::Selected: return A_REVERSE;
    case Style::Good: return pair(kGoodPair, A_NORMAL);
    case Style::Busy: return pair(kBusyPair, A_BOLD);
    case Style::Full: return pair(kFullPair, A_BOLD) | A_BOLD;
    case Style::Title: return pair(kTitlePair, A_REVERSE);
  }
  return A_NORMAL;
}

int translated(int key) {
  switch (key) {
    case KEY_UP: return kUp;
    case KEY_DOWN: return kDown;
    case KEY_LEFT: return kLeft;
    case KEY_RIGHT: return kRight;
    case KEY_PPAGE: return kPageUp;
    case KEY_NPAGE: return kPageDown;
    case KEY_HOME: return kHome;
    case KEY_END: return kEnd;
    case KEY_BACKSPACE: return kBackspace;
    case KEY_ENTER:
    case '\n':
    case '\r': return kEnter;
    case 27: return kEscape;
    case KEY_RESIZE: return Terminal::kResized;
    default: return key >= 0 && key < 256 ? key : Terminal::kNothing;
  }
}

}  // namespace

Terminal::~Terminal() {
  if (started_) ::endwin();
}

bool Terminal::start() {
  if (::isatty(0) == 0 || ::isatty(1) == 0) {
    complain("this needs a terminal; --once prints one screen as text");
    return false;
  }
  ::set_escdelay(50);
  if (::newterm(nullptr, stdout, stdin) == nullptr) {
    const char* const term = std::getenv("TERM");  // NOLINT(concurrency-mt-unsafe): nobody sets it
    complain(std::string("unknown kind of terminal TERM=") + (term != nullptr ? term : "") +
             "; remedy: TERM=vt100, or --once");
    return false;
  }
  started_ = true;
  ::cbreak();
  ::noecho();
  ::nonl();
  ::keypad(stdscr, TRUE);
  ::curs_set(0);
  if (::has_colors()) {
    colours_ = ::start_color() == OK;
    const short back =
        ::use_default_colors() == OK ? static_cast<short>(-1) : static_cast<short>(COLOR_BLACK);
    ::init_pair(kGoodPair, COLOR_GREEN, back);
    ::init_pair(kBusyPair, COLOR_YELLOW, back);
    ::init_pair(kFullPair, COLOR_RED, back);
    ::init_pair(kTitlePair, COLOR_BLACK, COLOR_CYAN);
  }
  return true;
}

int Terminal::width() const { return COLS; }
int Terminal::height() const { return LINES; }

void Terminal::show(const Canvas& canvas) {
  ::erase();
  for (int row = 0; row < canvas.height() && row < LINES; ++row) {
    for (int column = 0; column < canvas.width() && column < COLS; ++column) {
      const auto c = static_cast<unsigned char>(canvas.at(row, column));
      const Style style = canvas.style(row, column);
      if (c == ' ' && style != Style::Selected && style != Style::Title && style != Style::Reverse) continue;
      // The last place of the screen by insch: putting it would scroll.
      if (row == LINES - 1 && column == COLS - 1)
        ::mvinsch(row, column, c | look(style, colours_));
      else
        ::mvaddch(row, column, c | look(style, colours_));
    }
  }
  ::refresh();
}

int Terminal::key(int timeout_ms) {
  ::timeout(timeout_ms);
  const int key = ::getch();
  return key == ERR ? kNothing : translated(key);
}

void plain_size(int& width, int& height) {
  winsize size{};
  width = 80;
  height = 24;
  if (::ioctl(1, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
    width = size.ws_col;
    height = size.ws_row;
  }
  const auto from_environment = [](const char* name, int& to) {
    const char* const text = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nobody sets it
    const int n = text != nullptr ? std::atoi(text) : 0;
    if (n > 0 && n <= 2000) to = n;
  };
  from_environment("COLUMNS", width);
  from_environment("LINES", height);
}

}  // namespace hpcvmm::cli
