#include "daemon/files.hh"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <string>

namespace hpcvmm::daemon {
namespace {

namespace local = wire::local;
using wire::files::Digest;
using wire::files::FileId;

constexpr Files::Limits kAtOnce{.settled_ns = 0};

/// A folder of root's own.
class FilesTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(::geteuid(), 0U) << "files are only known if they are root's";
    std::array<char, 64> name{"/tmp/hpcvmm-files-XXXXXX"};
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name.data();
  }
  void TearDown() override {
    static_cast<void>(std::system(("rm -rf " + folder_).c_str()));  // NOLINT(cert-env33-c): a folder of ours
  }

  std::string write(const std::string& name, const std::string& content, mode_t mode = 0644) {
    std::string path = folder_ + "/" + name;
    const UniqueFd fd(::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600));
    EXPECT_EQ(::write(fd.get(), content.data(), content.size()), static_cast<ssize_t>(content.size()));
    EXPECT_EQ(::fchmod(fd.get(), mode), 0);
    return path;
  }
  static FileId id_of(const std::string& path) {
    struct stat s {};
    EXPECT_EQ(::stat(path.c_str(), &s), 0);
    return {s.st_dev, s.st_ino, static_cast<std::uint64_t>(s.st_size),
            s.st_mtim.tv_sec * 1'000'000'000LL + s.st_mtim.tv_nsec,
            s.st_ctim.tv_sec * 1'000'000'000LL + s.st_ctim.tv_nsec};
  }
  static void see(Files& files, const std::string& path) {
    local::FileSeen m;
    std::snprintf(m.path, sizeof m.path, "%s", path.c_str());
    files.seen(m);
    files.settle();
  }
  static Files::Found ask(Files& files, const std::string& path, std::uint64_t size, const Digest& digest) {
    local::FileAsk m;
    m.size = size;
    std::copy(digest.begin(), digest.end(), m.digest);
    std::snprintf(m.path, sizeof m.path, "%s", path.c_str());
    const Files::Found first = files.ask(m);
    if (first.code == 0) return first;
    files.settle();
    return files.ask(m);
  }
  /// As a deputy does, through the descriptor it gets.
  static bool known(const Files& files, const std::string& path, Digest& digest) {
    void* const at = ::mmap(nullptr, sizeof(wire::files::Table), PROT_READ, MAP_SHARED, files.table_fd(), 0);
    EXPECT_NE(at, MAP_FAILED);
    const bool found = wire::files::find(*static_cast<const wire::files::Table*>(at), id_of(path), digest);
    ::munmap(at, sizeof(wire::files::Table));
    return found;
  }
  static std::string content(int fd, std::size_t size) {
    std::string text(size, 0);
    EXPECT_EQ(::pread(fd, text.data(), size, 0), static_cast<ssize_t>(size));
    return text;
  }

  std::string folder_;
};

TEST_F(FilesTest, TheSameContentIsFoundByItsDigest) {
  Files home(kAtOnce);
  Files there(kAtOnce);
  ASSERT_TRUE(home.open());
  ASSERT_TRUE(there.open());
  const std::string text(10'000, 'x');
  const std::string path = write("lib.so", text);
  Digest digest{};
  EXPECT_FALSE(known(home, path, digest));
  see(home, path);
  ASSERT_TRUE(known(home, path, digest));
  const Files::Found found = ask(there, path, text.size(), digest);
  ASSERT_EQ(found.code, 0);
  EXPECT_EQ(content(found.fd, text.size()), text);
  // Another copy of the same content elsewhere will do.
  EXPECT_EQ(ask(there, write("other.so", text), text.size(), digest).fd, found.fd);
}

TEST_F(FilesTest, OneByteMakesAnotherFile) {
  Files home(kAtOnce);
  Files there(kAtOnce);
  ASSERT_TRUE(home.open());
  ASSERT_TRUE(there.open());
  std::string text(100'000, 'x');
  const std::string path = write("lib.so", text);
  see(home, path);
  Digest digest{};
  ASSERT_TRUE(known(home, path, digest));
  text[70'000] = 'y';
  const std::string elsewhere = write("elsewhere.so", text);
  EXPECT_EQ(ask(there, elsewhere, text.size(), digest).code, EAGAIN);
  EXPECT_EQ(ask(there, elsewhere, text.size() - 1, digest).code, EAGAIN);
}

TEST_F(FilesTest, WhatOthersMayWriteOrMayNotReadIsNotTaken) {
  Files files(kAtOnce);
  ASSERT_TRUE(files.open());
  Digest digest{};
  for (const mode_t mode : {0666, 0664, 0646, 0640, 0600}) {
    const std::string path = write("mode" + std::to_string(mode), "text", mode);
    see(files, path);
    EXPECT_FALSE(known(files, path, digest)) << mode;
  }
  const std::string owned = write("owned", "text");
  ASSERT_EQ(::chown(owned.c_str(), 65534, 65534), 0);
  see(files, owned);
  EXPECT_FALSE(known(files, owned, digest));
  // Nor copied, although the content would be right.
  const std::string good = write("good", "text");
  see(files, good);
  ASSERT_TRUE(known(files, good, digest));
  EXPECT_EQ(ask(files, owned, 4, digest).code, EAGAIN);
  EXPECT_EQ(ask(files, folder_ + "/missing", 4, digest).code, EAGAIN);
  EXPECT_EQ(ask(files, "/dev/zero", 4, digest).code, EAGAIN);
  EXPECT_EQ(ask(files, good, 4, digest).code, 0);
}

TEST_F(FilesTest, WhatSomebodyIsWritingIsNotKnown) {
  Files files(kAtOnce);
  ASSERT_TRUE(files.open());
  const std::string path = write("lib.so", "text");
  const UniqueFd writer(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  Digest digest{};
  see(files, path);
  EXPECT_FALSE(known(files, path, digest));
}

TEST_F(FilesTest, WhatHasJustChangedIsNotKnownYet) {
  Files files;
  ASSERT_TRUE(files.open());
  const std::string path = write("lib.so", "text");
  Digest digest{};
  see(files, path);
  EXPECT_FALSE(known(files, path, digest));
}

TEST_F(FilesTest, AChangedFileIsNotTheOneThatWasKnown) {
  Files files(kAtOnce);
  ASSERT_TRUE(files.open());
  const std::string path = write("lib.so", "one");
  see(files, path);
  Digest one{};
  ASSERT_TRUE(known(files, path, one));
  const Files::Found copy = ask(files, path, 3, one);
  ASSERT_EQ(copy.code, 0);
  // Written in its place: other times.
  write("lib.so", "two");
  Digest two{};
  EXPECT_FALSE(known(files, path, two));
  see(files, path);
  ASSERT_TRUE(known(files, path, two));
  EXPECT_NE(one, two);
  // Replaced: another inode.
  ASSERT_EQ(::rename(write("new.so", "three").c_str(), path.c_str()), 0);
  EXPECT_FALSE(known(files, path, two));
  // The copy stays what it was.
  EXPECT_EQ(content(copy.fd, 3), "one");
}

TEST_F(FilesTest, ACopyCannotBeChanged) {
  Files files(kAtOnce);
  ASSERT_TRUE(files.open());
  const std::string path = write("lib.so", "text");
  see(files, path);
  Digest digest{};
  ASSERT_TRUE(known(files, path, digest));
  const Files::Found found = ask(files, path, 4, digest);
  ASSERT_EQ(found.code, 0);
  EXPECT_EQ(::pwrite(found.fd, "x", 1, 0), -1);
  EXPECT_EQ(::ftruncate(found.fd, 0), -1);
  EXPECT_EQ(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, found.fd, 0), MAP_FAILED);
  EXPECT_NE(::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, found.fd, 0), MAP_FAILED);
  EXPECT_EQ(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, files.table_fd(), 0), MAP_FAILED);
}

TEST_F(FilesTest, TheLongestUnusedCopyGivesWay) {
  Files files({.copies_bytes = 250'000, .settled_ns = 0});
  ASSERT_TRUE(files.open());
  std::array<std::string, 3> paths;
  std::array<Digest, 3> digests{};
  for (unsigned i = 0; i < 3; ++i) {
    paths[i] = write("lib" + std::to_string(i), std::string(100'000, static_cast<char>('a' + i)));
    see(files, paths[i]);
    ASSERT_TRUE(known(files, paths[i], digests[i]));
  }
  EXPECT_EQ(ask(files, paths[0], 100'000, digests[0]).code, 0);
  EXPECT_EQ(ask(files, paths[1], 100'000, digests[1]).code, 0);
  EXPECT_EQ(ask(files, paths[0], 100'000, digests[0]).code, 0);
  EXPECT_EQ(ask(files, paths[2], 100'000, digests[2]).code, 0);
  EXPECT_LE(files.copies_bytes(), 250'000U);
  EXPECT_EQ(files.counters().copied, 3U);
  EXPECT_EQ(ask(files, paths[0], 100'000, digests[0]).code, 0);
  EXPECT_EQ(files.counters().copied, 3U);
  EXPECT_EQ(ask(files, paths[1], 100'000, digests[1]).code, 0);
  EXPECT_EQ(files.counters().copied, 4U);
}

TEST(FileTable, FindsWhatWasPutAndNothingElse) {
  auto table = std::make_unique<wire::files::Table>();
  Digest d{};
  for (std::uint64_t i = 1; i <= 500; ++i) {
    d[0] = static_cast<std::uint8_t>(i);
    d[1] = static_cast<std::uint8_t>(i >> 8);
    wire::files::put(*table, {1, i * 7, 100, 5, 5}, d);
  }
  unsigned found = 0;
  for (std::uint64_t i = 1; i <= 500; ++i) {
    Digest out{};
    if (!wire::files::find(*table, {1, i * 7, 100, 5, 5}, out)) continue;
    ++found;
    EXPECT_EQ(out[0] + out[1] * 256U, i);
  }
  EXPECT_GT(found, 480U);  // entries give way to each other when their places are taken
  Digest out{};
  EXPECT_FALSE(wire::files::find(*table, {1, 7, 100, 5, 6}, out));
  EXPECT_FALSE(wire::files::find(*table, {1, 7, 101, 5, 5}, out));
  EXPECT_FALSE(wire::files::find(*table, {2, 7, 100, 5, 5}, out));
}

}  // namespace
}  // namespace hpcvmm::daemon
