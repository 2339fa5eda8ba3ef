#include "balancer/sim/svg.hh"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdarg>
#include <cstdio>

namespace hpcvmm::balancer::sim {

namespace {

constexpr double kWidth = 720, kHeight = 440, kLeft = 70, kRight = 20, kTop = 40, kBottom = 60;

__attribute__((format(printf, 1, 2))) std::string text(const char* format, ...) {
  std::array<char, 400> out{};
  va_list args;
  va_start(args, format);
  const int n = std::vsnprintf(out.data(), out.size(), format, args);
  va_end(args);
  return {out.data(), static_cast<std::size_t>(std::clamp<int>(n, 0, static_cast<int>(out.size()) - 1))};
}

struct Scale {
  double low = 0, high = 1, begin = 0, end = 1;
  bool log = false;
  double at(double v) const {
    const auto f = [&](double x) { return log ? std::log10(std::max(x, 1e-12)) : x; };
    const double span = f(high) - f(low);
    return begin + (span > 0 ? (f(v) - f(low)) / span : 0.5) * (end - begin);
  }
};

/// A round step that cuts `high` into about five.
double step_of(double high) {
  const double raw = std::max(high, 1e-9) / 5;
  const double power = std::pow(10, std::floor(std::log10(raw)));
  for (const double m : {1.0, 2.0, 5.0})
    if (m * power >= raw) return m * power;
  return 10 * power;
}

}  // namespace

std::string svg(const Chart& chart) {
  Scale x{1e300, -1e300, kLeft, kWidth - kRight, chart.log_x};
  Scale y{0, 0, kHeight - kBottom, kTop, false};
  for (const Series& s : chart.series) {
    for (const auto& [px, py] : s.points) {
      x.low = std::min(x.low, px);
      x.high = std::max(x.high, px);
      y.high = std::max(y.high, py);
    }
  }
  const double step = step_of(y.high);
  y.high = step * std::ceil(y.high / step + 1e-9);
  std::string out = text(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %g %g\" font-family=\"sans-serif\" "
      "font-size=\"13\">\n"
      "<rect width=\"%g\" height=\"%g\" fill=\"white\"/>\n",
      kWidth, kHeight, kWidth, kHeight);
  const auto label = [&](double lx, double ly, const char* anchor, const std::string& words) {
    out += text("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", lx, ly, anchor) + words + "</text>\n";
  };
  label(kWidth / 2, 24, "middle", chart.title);
  label((kLeft + kWidth - kRight) / 2, kHeight - 15, "middle", chart.x_name);
  label(8, kTop - 12, "start", chart.y_name);
  for (int line = 0; line <= static_cast<int>(std::lround(y.high / step)); ++line) {
    const double v = line * step;
    out += text("<path d=\"M%.1f %.1fH%.1f\" stroke=\"#ddd\"/>\n", kLeft, y.at(v), kWidth - kRight);
    label(kLeft - 6, y.at(v) + 4, "end", text("%g", v));
  }
  constexpr std::array<const char*, 5> kColours{"#1b6ca8", "#c0392b", "#2e8b57", "#8e44ad", "#d68910"};
  for (std::size_t i = 0; i < chart.series.size(); ++i) {
    const Series& s = chart.series[i];
    const char* const colour = kColours[i % kColours.size()];
    std::string path;
    for (const auto& [px, py] : s.points) {
      path += text("%s%.1f %.1f", path.empty() ? "M" : "L", x.at(px), y.at(py));
      out += text("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n", x.at(px), y.at(py), colour);
      if (i == 0) label(x.at(px), kHeight - kBottom + 18, "middle", text("%g", px));
    }
    if (s.points.empty()) continue;
    out += "<path d=\"" + path + text("\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\"/>\n", colour);
    out += text("<text x=\"%.1f\" y=\"%.1f\" fill=\"%s\">", kLeft + 12,
                kTop + 16.0 + 18.0 * static_cast<double>(i), colour) +
           s.name + "</text>\n";
  }
  return out + "</svg>\n";
}

}  // namespace hpcvmm::balancer::sim
