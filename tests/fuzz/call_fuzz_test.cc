// Goal: the target for calls with their data holds in every build, without libFuzzer.  Method: a bounded
// number of mutations of calls as a remote packs them, with a printed seed.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "tests/fuzz/fuzz_targets.hh"

namespace hpcvmm::fuzz {
namespace {

using Bytes = std::vector<std::uint8_t>;

template <class T> void put(Bytes& to, const T& value) {
  const auto* const at = reinterpret_cast<const std::uint8_t*>(&value);
  to.insert(to.end(), at, at + sizeof value);
}

/// One area of a call: forward.cc's Piece, and the data behind all of them.
struct Part {
  std::uint64_t guest;
  std::uint8_t arg, unit, flags;
  std::vector<std::uint32_t> words;
  std::uint32_t bytes = 0;  // without data
};
constexpr std::uint8_t kIn = 1;
constexpr std::uint8_t kOut = 2;
constexpr std::uint8_t kText = 4;
constexpr std::uint8_t kApart = 8;

Bytes call_of(bool ia32, std::uint16_t number, const std::array<std::uint64_t, 6>& words, std::int64_t result,
              const std::vector<Part>& parts) {
  Bytes out;
  put(out, static_cast<std::uint8_t>(ia32 ? 1 : 0));
  put(out, number);
  for (const std::uint64_t w : words) put(out, w);
  put(out, result);
  std::uint32_t data = 0;
  for (const Part& p : parts) data += static_cast<std::uint32_t>(p.words.size() * 4);
  put(out, static_cast<std::uint32_t>(parts.size()));
  put(out, data);
  for (const Part& p : parts) {
    put(out, p.guest);
    put(out, p.words.empty() ? p.bytes : static_cast<std::uint32_t>(p.words.size() * 4));
    put(out, p.arg);
    put(out, p.unit);
    put(out, p.flags);
    put(out, std::uint8_t{0});
  }
  for (const Part& p : parts)
    for (const std::uint32_t w : p.words) put(out, w);
  return out;
}

std::vector<Bytes> calls() {
  constexpr std::uint8_t kBoth = kIn | kOut;
  const std::vector<std::uint32_t> name(32, 7);
  const Part header{0x1000, 1, 0, kBoth, {0x2000, 128, 0x3000, 2, 0x4000, 64, 0}};
  const Part name_part{0x2000, 1, 0, kBoth, name};
  const Part iov{0x3000, 1, 0, kIn, {0x5000, 40, 0x6000, 400}};
  const Part control{0x4000, 1, 0, kBoth, std::vector<std::uint32_t>(16, 0)};
  const Part first{0x5000, 1, 1, kOut, {}, 40};
  const Part second{0x6000, 1, 1, kOut, {}, 400};
  Part plain = header;
  plain.words[5] = 0;
  const Part words{0x9000, 1, 0, kIn, {3, 0x1000, 0}};
  const Part wide{0x1000, 1, 0, kBoth, {0x2000, 0, 128, 0, 0x3000, 0, 1, 0, 0x4000, 0, 64, 0, 0, 0}};
  const Part wide_iov{0x3000, 1, 0, kIn, {0x5000, 0, 40, 0}};
  const Part path{0x1000, 0, 0, kIn | kText, {0x6d742f, 0}};
  return {
      call_of(true, 372, {3, 0x1000, 0}, 45, {header, name_part, control, iov, first, second}),  // recvmsg
      call_of(true, 372, {3, 0x1000, 0}, 45, {plain, name_part, iov, first, second}),
      call_of(true, 370, {3, 0x1000, 0}, 45, {header, name_part, control, iov}),  // sendmsg
      call_of(true, 102, {17, 0x9000}, 45, {header, name_part, control, iov, first, second, words}),
      call_of(true, 145, {3, 0x3000, 2}, 45, {iov, first, second}),               // readv
      call_of(true, 220, {3, 0x6000, 400}, 96, {{0x6000, 1, 1, kOut, {}, 400}}),  // getdents64
      call_of(true, 195, {0x1000, 0x2000}, 0,
              {path, {0x2000, 1, 0, kBoth, std::vector<std::uint32_t>(24, 0)}}),
      call_of(true, 142, {40, 0x2000, 0, 0, 0}, 1, {{0x2000, 1, 0, kBoth, {1, 2}}}),  // _newselect
      call_of(false, 7, {0x2000, 4, 0}, 1,
              {{0x2000, 0, 0, kBoth | kApart, {1, 2, 3, 4, 5, 6, 7, 8}}}),                  // poll
      call_of(false, 47, {3, 0x1000, 0}, 30, {wide, name_part, control, wide_iov, first}),  // recvmsg
      call_of(false, 55, {3, 1, 4, 0x2000, 0x3000}, 0,
              {{0x2000, 3, 0, kBoth, {0}}, {0x3000, 4, 0, kBoth, {4}}}),
      call_of(false, 0, {3, 0x6000, 400}, 100, {{0x6000, 1, 1, kOut, {}, 400}}),  // read
  };
}

void mutate(Bytes& input, std::mt19937& random) {
  const auto changes = random() % 6;
  for (std::size_t i = 0; i < changes; ++i) {
    const std::size_t at = random() % input.size();
    switch (random() % 4) {
      case 0: input[at] = static_cast<std::uint8_t>(random()); break;
      case 1: input[at] ^= static_cast<std::uint8_t>(1U << (random() % 8)); break;
      case 2: input[at] = 0xff; break;
      default: input[at] = 0;
    }
  }
  if (random() % 8 == 0) input.resize(1 + random() % input.size());
}

TEST(Fuzz, Call) {
  const char* const given = std::getenv("HPCVMM_FUZZ_SEED");
  const auto seed =
      given != nullptr ? static_cast<unsigned>(std::strtoul(given, nullptr, 0)) : std::random_device{}();
  std::fprintf(stderr, "HPCVMM_FUZZ_SEED=%u\n", seed);
  std::mt19937 random(seed);
  const std::vector<Bytes> good = calls();
  for (const Bytes& input : good) call(input.data(), input.size());
  for (unsigned i = 0; i < 200'000; ++i) {
    Bytes input = good[random() % good.size()];
    mutate(input, random);
    // A copy of just that size, so that reading behind its end is seen.
    const std::vector<std::uint8_t> exact(input.begin(), input.end());
    call(exact.data(), exact.size());
  }
}

}  // namespace
}  // namespace hpcvmm::fuzz
