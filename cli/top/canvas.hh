// A screen as text with styles: what the monitors draw, whether a terminal shows it or --once prints it.
// Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace hpcvmm::cli {

enum class Style : std::uint8_t { Plain, Bold, Dim, Reverse, Selected, Good, Busy, Full, Title };

class Canvas {
 public:
  Canvas(int width, int height);

  [[nodiscard]] int width() const { return width_; }
  [[nodiscard]] int height() const { return height_; }
  /// What does not fit is cut off; outside: nothing.
  void put(int row, int column, const std::string& text, Style style = Style::Plain);
  /// The whole row in one style, its text as it is.
  void paint(int row, Style style);
  [[nodiscard]] char at(int row, int column) const { return text_[index(row, column)]; }
  [[nodiscard]] Style style(int row, int column) const { return style_[index(row, column)]; }
  /// Without the blanks at its end.
  [[nodiscard]] std::string line(int row) const;
  /// All lines, without the empty ones at the end.
  [[nodiscard]] std::string text() const;

 private:
  [[nodiscard]] std::size_t index(int row, int column) const {
    return static_cast<std::size_t>(row) * static_cast<std::size_t>(width_) +
           static_cast<std::size_t>(column);
  }
  int width_, height_;
  std::string text_;
  std::vector<Style> style_;
};

/// Right-aligned, left-aligned, cut off at the width.
std::string right(const std::string& text, int width);
std::string left(const std::string& text, int width);

}  // namespace hpcvmm::cli
