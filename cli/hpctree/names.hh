// Which files there are, and who may write them.
#pragma once

#include <array>
#include <string_view>

namespace hpcvmm::hpctree {

struct File {
  std::string_view name;
  unsigned mode;
};

/// The admin files that are an order: 0 or 1, hpcd's setting of the same name.
inline constexpr std::array<std::string_view, 6> kOrders{"block", "bring", "expel", "stay", "lstay", "quiet"};

inline constexpr std::array<File, 19> kAdmin{{{"block", 0644},
                                              {"bring", 0644},
                                              {"expel", 0644},
                                              {"stay", 0644},
                                              {"lstay", 0644},
                                              {"quiet", 0644},
                                              {"nomfs", 0644},
                                              {"dfsalinks", 0444},
                                              {"gateways", 0444},
                                              {"mospe", 0644},
                                              {"overheads", 0644},
                                              {"speed", 0644},
                                              {"version", 0444},
                                              {"decay-interval", 0644},
                                              {"decayinterval", 0644},
                                              {"slow-decay", 0644},
                                              {"fast-decay", 0644},
                                              {"policy", 0644},
                                              {"owner-active", 0644}}};
inline constexpr std::array<File, 5> kDecay{
    {{"clear", 0666}, {"cpujob", 0666}, {"iojob", 0666}, {"slow", 0666}, {"fast", 0666}}};
inline constexpr std::array<File, 14> kNode{{{"CPUs", 0444},
                                             {"cpus", 0444},
                                             {"load", 0444},
                                             {"mem", 0444},
                                             {"rmem", 0444},
                                             {"speed", 0444},
                                             {"status", 0444},
                                             {"tmem", 0444},
                                             {"util", 0444},
                                             {"state", 0444},
                                             {"address", 0444},
                                             {"orders", 0444},
                                             {"guests", 0444},
                                             {"rtt", 0444}}};
inline constexpr std::array<File, 4> kRemote{
    {{"from", 0444}, {"identity", 0444}, {"statm", 0444}, {"stats", 0444}}};
inline constexpr std::array<File, 15> kProcess{{{"where", 0444},
                                                {"goto", 0644},
                                                {"migrate", 0644},
                                                {"cantmove", 0444},
                                                {"lock", 0644},
                                                {"nmigs", 0444},
                                                {"home", 0444},
                                                {"migfilter", 0644},
                                                {"mignodes", 0644},
                                                {"migpolicy", 0644},
                                                {"homeonly", 0644},
                                                {"runon", 0644},
                                                {"kind", 0644},
                                                {"decay", 0644},
                                                {"why", 0444}}};

}  // namespace hpcvmm::hpctree
