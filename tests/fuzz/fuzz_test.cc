// Goal: the fuzz targets hold over mutated real files in every build, without libFuzzer.
// Method: a bounded number of random changes to seeds; each input ends at an inaccessible page, so that a
// read behind it ends the test even without AddressSanitizer.  The seed of the random numbers is printed with
// a failure.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz_targets.hh"

namespace hpcvmm::fuzz {
namespace {

using Bytes = std::vector<std::uint8_t>;

/// A place for inputs that end where the accessible memory ends.
class Guarded {
 public:
  static constexpr std::size_t kBytes = 16 * 4096;
  Guarded() {
    const int prot = PROT_READ | PROT_WRITE;
    base_ =
        static_cast<std::uint8_t*>(::mmap(nullptr, kBytes + 4096, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ::mprotect(base_ + kBytes, 4096, PROT_NONE);
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  ~Guarded() { ::munmap(base_, kBytes + 4096); }
  const std::uint8_t* put(const Bytes& input) {
    std::uint8_t* const at = base_ + kBytes - input.size();
    if (!input.empty()) std::memcpy(at, input.data(), input.size());
    return at;
  }

 private:
  std::uint8_t* base_;
};

// Enough of a file to hold its headers.
void append_head(Bytes& to, const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  Bytes head(1024);
  in.read(reinterpret_cast<char*>(head.data()), static_cast<std::streamsize>(head.size()));
  ASSERT_GT(in.gcount(), 0) << path;
  to.insert(to.end(), head.begin(), head.begin() + in.gcount());
}

void mutate(Bytes& input, std::mt19937& random) {
  static constexpr std::uint64_t kOdd[] = {0,
                                           1,
                                           0x7f,
                                           0xfff,
                                           0x1000,
                                           0xffffe000,
                                           0xffffffff,
                                           0x69fffffff000,
                                           0x6a0000000000,
                                           0x6affffffffff,
                                           0x7ffffffff000,
                                           1ULL << 63,
                                           UINT64_MAX};
  for (unsigned i = 0; i <= random() % 4; ++i) {
    if (input.size() < 16) return;
    // Headers and program headers are what counts; they lie in the first few hundred bytes.
    const std::size_t reach = random() % 2 == 0 ? std::min<std::size_t>(input.size(), 400) : input.size();
    const std::size_t at = random() % reach;
    switch (random() % 4) {
      case 0: input[at] = static_cast<std::uint8_t>(random()); break;
      case 1: input[at] ^= static_cast<std::uint8_t>(1U << (random() % 8)); break;
      case 2: {
        const std::uint64_t value = kOdd[random() % std::size(kOdd)];
        const std::size_t start =
            2 + (at & ~std::size_t{3});  // fields are 4-byte aligned behind the two choices
        if (start < input.size())
          std::memcpy(&input[start], &value, std::min<std::size_t>(8, input.size() - start));
        break;
      }
      default:
        if (random() % 8 == 0) input.resize(random() % input.size());
    }
  }
}

void run(void (*target)(const std::uint8_t*, std::size_t), const std::vector<Bytes>& seeds, int rounds) {
  const char* const given = std::getenv("HPCVMM_FUZZ_SEED");
  const auto seed =
      given != nullptr ? static_cast<unsigned>(std::strtoul(given, nullptr, 0)) : std::random_device{}();
  std::fprintf(stderr, "HPCVMM_FUZZ_SEED=%u\n", seed);  // before anything can abort
  std::mt19937 random(seed);
  Guarded place;
  for (int i = 0; i < rounds; ++i) {
    Bytes input = seeds[random() % seeds.size()];
    if (i >= static_cast<int>(seeds.size())) mutate(input, random);
    target(place.put(input), input.size());
  }
}

TEST(Fuzz, Elf) {
  std::vector<Bytes> seeds;
  const std::string self = "/proc/self/exe";
  const std::string loader = "/lib64/ld-linux-x86-64.so.2";
  const std::string guests = HPCVMM_LOAD_GUESTS "/";
  for (const std::uint8_t mood : std::initializer_list<std::uint8_t>{0x00, 0x01, 0x40, 0x80}) {
    seeds.push_back({16, mood});
    append_head(seeds.back(), guests + "tiny.static.64");
    seeds.push_back({16, mood});
    append_head(seeds.back(), guests + "tiny.static.32");
    seeds.push_back({16, mood});
    append_head(seeds.back(), guests + "show.static_pie.32");
    seeds.push_back({8, mood});
    append_head(seeds.back(), self);
    append_head(seeds.back(), loader);
    seeds.push_back({8, mood});
    append_head(seeds.back(), guests + "show.dynamic.32");
    append_head(seeds.back(), guests + "show.static_pie.32");
  }
  run(elf, seeds, 300'000);
}

TEST(Fuzz, Script) {
  std::vector<Bytes> seeds;
  for (std::string text : {std::string("#!/bin/sh -e\nrest"), std::string("#! \t/usr/bin/env  python3 \t \n"),
                           "#!/" + std::string(250, 'x') + " y\n", "#!" + std::string(254, ' '),
                           "#!/bin/sh " + std::string(300, 'a'), std::string("#!x")}) {
    seeds.emplace_back(text.begin(), text.end());
  }
  run(script, seeds, 300'000);
}

TEST(Fuzz, Exit) {
  // Seeds by what the first byte selects, with a frame of user code and one of the stub's.
  std::vector<Bytes> seeds;
  for (unsigned mood = 0; mood < 128; ++mood) {
    for (const std::uint64_t cs : {0x33, 0x23, 0x10}) {
      const std::uint64_t vector = mood % 3 == 0 ? 13 : mood % 3 == 1 ? 6 : 14;
      // rip, rsp (with bit 6: the frame's), cs, rcx, r11, cr2, then the frame.
      const std::uint64_t words[] = {mood,  64 + 4096 - 56, cs, 0x401000, 0x246,          0xb000, vector,
                                     0x402, 0x401002,       cs, 0x246,    0x7fff00001000, 0x2b};
      Bytes seed{static_cast<std::uint8_t>(mood), 0xcd, 0x80};
      const auto* const raw = reinterpret_cast<const std::uint8_t*>(words);
      seed.insert(seed.end(), raw, raw + sizeof words);
      seeds.push_back(seed);
    }
  }
  run(exit, seeds, 300'000);
}

}  // namespace
}  // namespace hpcvmm::fuzz
