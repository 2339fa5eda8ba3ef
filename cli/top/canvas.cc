#include "cli/top/canvas.hh"

#include <algorithm>

namespace hpcvmm::cli {

Canvas::Canvas(int width, int height)
    : width_(std::clamp(width, 1, 2000)),
      height_(std::clamp(height, 1, 2000)),
      text_(index(height_, 0), ' '),
      style_(text_.size(), Style::Plain) {}

void Canvas::put(int row, int column, const std::string& text, Style style) {
  if (row < 0 || row >= height_) return;
  for (const char c : text) {
    if (column >= width_) return;
    if (column >= 0) {
      text_[index(row, column)] = c >= 32 && c < 127 ? c : '?';
      style_[index(row, column)] = style;
    }
    ++column;
  }
}

void Canvas::paint(int row, Style style) {
  if (row < 0 || row >= height_) return;
  for (int column = 0; column < width_; ++column) style_[index(row, column)] = style;
}

std::string Canvas::line(int row) const {
  std::string out = text_.substr(index(row, 0), static_cast<std::size_t>(width_));
  out.erase(out.find_last_not_of(' ') + 1);
  return out;
}

std::string Canvas::text() const {
  int last = height_;
  while (last > 0 && line(last - 1).empty()) --last;
  std::string out;
  for (int row = 0; row < last; ++row) out += line(row) + "\n";
  return out;
}

std::string right(const std::string& text, int width) {
  const auto w = static_cast<std::size_t>(std::max(width, 0));
  return text.size() >= w ? text.substr(0, w) : std::string(w - text.size(), ' ') + text;
}

std::string left(const std::string& text, int width) {
  const auto w = static_cast<std::size_t>(std::max(width, 0));
  return text.size() >= w ? text.substr(0, w) : text + std::string(w - text.size(), ' ');
}

}  // namespace hpcvmm::cli
