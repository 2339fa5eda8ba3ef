// What a home tells of its names, what a node keeps of it, and what a process there makes of that: all three
// together, over a real folder.
#include <gtest/gtest.h>

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "daemon/names/source.hh"
#include "daemon/names/store.hh"
#include "vmm/names/layouts.hh"
#include "vmm/names/reader.hh"

namespace hpcvmm {
namespace {

using daemon::names::Source;
using daemon::names::Store;
using names::Found;
using names::Kind;
using names::kUnknown;
using names::Reader;

constexpr Source::Reader kNode{2, 0};
constexpr names::Who kRoot{0, true};

class Names : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/hpc-vmm-names-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
    ASSERT_TRUE(source_.open());
    ASSERT_TRUE(store_.open());
    void* const at = ::mmap(nullptr, wire::names::kStoreBytes, PROT_READ, MAP_SHARED, store_.fd(), 0);
    ASSERT_NE(at, MAP_FAILED);
    ASSERT_TRUE(reader_.open(at));
    void* const page =
        ::mmap(nullptr, sizeof(wire::names::HomePage), PROT_READ, MAP_SHARED, source_.page_fd(), 0);
    ASSERT_NE(page, MAP_FAILED);
    page_ = static_cast<const wire::names::HomePage*>(page);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string path(const std::string& name) const { return folder_ + "/" + name; }
  void write(const std::string& name, const std::string& text) const { std::ofstream(path(name)) << text; }
  Found look(const std::string& name, bool follow = true, const names::Who& who = kRoot) const {
    return reader_.look(path(name), {}, follow, who);
  }
  /// Asks home, and waits for its answer.
  Found learn(const std::string& name, bool follow = true) {
    source_.want(kNode, path(name));
    source_.settle();
    return look(name, follow);
  }
  std::string content(const Found& f) const {
    const names::Record* const r = reader_.node(f.id);
    if (r == nullptr || (r->flags & wire::names::kContent) == 0) return "(none)";
    return {reinterpret_cast<const char*>(Reader::content(*r)), Reader::facts(*r).content_bytes};
  }

  std::string folder_;
  Store store_;
  bool lose_ = false;
  std::size_t batches_ = 0;
  Source source_{[this](const Source::Reader& reader, const daemon::names::Bytes& batch) {
    EXPECT_EQ(reader, kNode);
    ++batches_;
    if (!lose_ && !store_.take(batch)) source_.drop(kNode);
    return true;
  }};
  Reader reader_;
  const wire::names::HomePage* page_ = nullptr;
};

TEST_F(Names, NothingIsKnownBeforeSomebodyHasAsked) {
  write("file", "text");
  EXPECT_EQ(look("file").error, kUnknown);
  EXPECT_EQ(look("absent").error, kUnknown);
}

TEST_F(Names, PathsLeadWhereLinuxLeads) {
  write("file", "text");
  std::filesystem::create_directories(path("a/b"));
  std::filesystem::create_symlink("a/b/../../file", path("link"));
  std::filesystem::create_symlink(path("a"), path("absolute"));
  const Found f = learn("file");
  ASSERT_EQ(f.error, 0);
  struct stat s {};
  ASSERT_EQ(::stat(path("file").c_str(), &s), 0);
  EXPECT_EQ(f.id, (wire::names::Id{s.st_dev, s.st_ino}));
  EXPECT_EQ(content(f), "text");
  // The whole folder has been told.
  EXPECT_EQ(look("absent").error, ENOENT);
  EXPECT_EQ(look("file/x").error, ENOTDIR);
  EXPECT_EQ(look("file/").error, ENOTDIR);
  EXPECT_EQ(look("absent/x").error, ENOENT);
  EXPECT_EQ(look("./file").id, f.id);
  ASSERT_EQ(learn("link").error, 0);
  EXPECT_EQ(look("link").id, f.id);
  EXPECT_EQ(look("link", false).kind, Kind::Link);
  EXPECT_EQ(look("link", false).text, "a/b/../../file");
  EXPECT_EQ(learn("absolute/b").kind, Kind::Folder);
  EXPECT_EQ(look("absolute/b/../../file").id, f.id);
  EXPECT_EQ(reader_.look("file", learn(".").id, true, kRoot).id, f.id);
}

TEST_F(Names, WhatChangesIsTakenBack) {
  write("file", "one");
  ASSERT_EQ(content(learn("file")), "one");
  ASSERT_EQ(look("other").error, ENOENT);

  write("other", "new");
  source_.read_changes();
  EXPECT_EQ(look("other").error, kUnknown);
  EXPECT_EQ(content(learn("other")), "new");

  write("file", "two");
  source_.read_changes();
  EXPECT_EQ(reader_.node(look("file").id), nullptr);
  EXPECT_EQ(content(learn("file")), "two");

  ASSERT_EQ(::chmod(path("file").c_str(), 0600), 0);
  source_.read_changes();
  EXPECT_EQ(reader_.node(look("file").id), nullptr);
  EXPECT_EQ(Reader::facts(*reader_.node(learn("file").id)).status.st_mode & 0777U, 0600U);

  ASSERT_EQ(::rename(path("other").c_str(), path("file").c_str()), 0);
  source_.read_changes();
  EXPECT_EQ(look("file").error, kUnknown);
  EXPECT_EQ(look("other").error, kUnknown);
  EXPECT_EQ(content(learn("file")), "new");
  EXPECT_EQ(learn("other").error, ENOENT);

  ASSERT_EQ(::unlink(path("file").c_str()), 0);
  source_.read_changes();
  EXPECT_EQ(look("file").error, kUnknown);
  EXPECT_EQ(learn("file").error, ENOENT);
}

TEST_F(Names, FoldersMoveWithWhatIsInThem) {
  std::filesystem::create_directories(path("a/in"));
  write("a/in/file", "text");
  ASSERT_EQ(content(learn("a/in/file")), "text");
  ASSERT_EQ(::rename(path("a").c_str(), path("b").c_str()), 0);
  ASSERT_EQ(::mkdir(path("a").c_str(), 0755), 0);
  source_.read_changes();
  EXPECT_EQ(look("a/in/file").error, kUnknown);
  EXPECT_EQ(learn("a/in/file").error, ENOENT);
  EXPECT_EQ(content(learn("b/in/file")), "text");
  ASSERT_EQ(::chmod(path("b/in").c_str(), 0700), 0);
  source_.read_changes();
  EXPECT_EQ(look("b/in/file").error, kUnknown);
}

TEST_F(Names, AFileThatSomebodyMayWriteIsNotTold) {
  write("file", "text");
  const int fd = ::open(path("file").c_str(), O_RDWR);
  ASSERT_GE(fd, 0);
  const Found f = learn("file");
  EXPECT_EQ(f.error, 0);
  EXPECT_EQ(reader_.node(f.id), nullptr);
  EXPECT_TRUE(reader_.is_refused(f.id)) << "there is no use in asking again";
  ::close(fd);
  source_.read_changes();
  EXPECT_FALSE(reader_.is_refused(f.id)) << "now there is";
  ASSERT_EQ(content(learn("file")), "text");
  // Writing through a mapping is told by nobody, opening for that is.
  const int mapped = ::open(path("file").c_str(), O_RDWR);
  source_.read_changes();
  EXPECT_EQ(reader_.node(look("file").id), nullptr);
  ::close(mapped);
  source_.read_changes();
  ASSERT_EQ(content(learn("file")), "text");
  // Reading changes nothing.
  ::close(::open(path("file").c_str(), O_RDONLY));
  source_.read_changes();
  EXPECT_EQ(content(look("file")), "text");
}

TEST_F(Names, WhoIsKeptOutAsksHome) {
  write("file", "text");
  ASSERT_EQ(::chmod(folder_.c_str(), 0750), 0);
  ASSERT_EQ(learn("file").error, 0);
  EXPECT_EQ(look("file", true, {12345, false}).error, kUnknown);
  EXPECT_EQ(look("absent", true, {12345, false}).error, kUnknown);
  EXPECT_EQ(look("file", true, {::getuid(), false}).error, 0);
}

TEST_F(Names, NobodyGoesByWhatIsOlderThanHome) {
  write("file", "text");
  Result<UniqueFd> bell = source_.make_bell();
  ASSERT_TRUE(bell);
  const auto rings = [&] {
    pollfd p{bell->get(), POLLIN, 0};
    return ::poll(&p, 1, 0) == 1;
  };
  ASSERT_EQ(learn("file").error, 0);
  source_.read_changes();
  EXPECT_FALSE(rings());
  const std::uint64_t calm = page_->begun.load();
  EXPECT_TRUE(reader_.is_as_new_as(calm));
  ASSERT_EQ(::unlink(path("file").c_str()), 0);
  EXPECT_TRUE(rings());
  // What a deputy would demand now: one more than was begun.
  EXPECT_FALSE(reader_.is_as_new_as(page_->begun.load() + 1));
  source_.read_changes();
  EXPECT_FALSE(rings());
  EXPECT_TRUE(reader_.is_as_new_as(page_->begun.load()));
  EXPECT_GT(page_->begun.load(), calm + 1) << "who asked for one more must get it without another change";
}

/// A store that is told by hand: a root folder with all its names.
class Told {
 public:
  Told() {
    EXPECT_TRUE(store_.open());
    EXPECT_TRUE(
        reader_.open(::mmap(nullptr, wire::names::kStoreBytes, PROT_READ, MAP_SHARED, store_.fd(), 0)));
    FactHead root;
    root.fact = daemon::names::Fact::Root;
    root.id = kRoot;
    put_fact(facts_, root);
    FactHead folder;
    folder.fact = daemon::names::Fact::Folder;
    folder.id = folder.child = kRoot;
    folder.flags = wire::names::kComplete;
    put_fact(facts_, folder);
  }
  /// With the next tell(): `name` is a file with that inode.
  void entry(const std::string& name, std::uint64_t inode) {
    FactHead e;
    e.fact = daemon::names::Fact::Entry;
    e.id = kRoot;
    e.kind = Kind::File;
    e.child = {1, inode};
    put_fact(facts_, e, name);
  }
  void tell() {
    daemon::names::Bytes batch;
    const daemon::names::Batch head{++sequence_, 0};
    daemon::names::put(batch, &head, sizeof head);
    daemon::names::put(batch, facts_.data(), facts_.size());
    facts_.clear();
    EXPECT_TRUE(store_.take(batch));
  }
  int look(const std::string& name) const {
    return reader_.look("/" + name, {}, true, names::Who{0, true}).error;
  }
  static bool share_a_bucket(const std::string& a, const std::string& b) {
    const auto bucket = [](const std::string& name) {
      return hash_of(wire::names::Type::Entry, kRoot, name) % wire::names::kBuckets;
    };
    return bucket(a) == bucket(b);
  }

 private:
  using FactHead = daemon::names::FactHead;
  static constexpr wire::names::Id kRoot{1, 2};
  Store store_;
  Reader reader_;
  daemon::names::Bytes facts_;
  std::uint64_t sequence_ = 0;
};

TEST(NamesTold, ANameThatIsToldAgainIsThereAllTheTime) {
  Told told;
  told.entry("file", 10);
  told.tell();
  std::atomic<bool> done{false};
  std::atomic<unsigned> absent{0}, looks{0};
  std::jthread looks_on([&] {
    for (; !done; ++looks) absent += told.look("file") == ENOENT ? 1 : 0;
  });
  // The store holds half a million.
  for (std::uint64_t i = 0; i < 300'000; ++i) {
    told.entry("file", 11 + i % 2);
    told.tell();
  }
  done = true;
  looks_on.join();
  EXPECT_EQ(absent, 0U) << "of " << looks;
  EXPECT_GT(looks, 1000U);
}

TEST(NamesTold, WhoCannotSeeToTheEndKnowsNothing) {
  Told told;
  std::string other;
  for (unsigned i = 0; other.empty(); ++i)
    if (const std::string name = "n" + std::to_string(i); Told::share_a_bucket("file", name)) other = name;
  told.entry(other, 10);
  for (std::uint64_t i = 0; i < 10'000; ++i) told.entry("file", 11 + i % 2);
  told.tell();
  EXPECT_EQ(told.look("file"), 0);
  EXPECT_NE(told.look(other), ENOENT);
  EXPECT_EQ(told.look("nothing"), ENOENT);
}

TEST_F(Names, ALostBatchMakesItForgetEverything) {
  write("file", "text");
  ASSERT_EQ(learn("file").error, 0);
  lose_ = true;
  ASSERT_EQ(::unlink(path("file").c_str()), 0);
  source_.read_changes();
  lose_ = false;
  EXPECT_EQ(look("file").error, 0) << "it has not heard";
  write("other", "text");
  source_.read_changes();
  EXPECT_EQ(look("file").error, kUnknown);
  EXPECT_EQ(learn("file").error, ENOENT);
}

TEST_F(Names, BrokenBatchesAreRefused) {
  write("file", "text");
  daemon::names::Bytes seen;
  Source other([&](const Source::Reader&, const daemon::names::Bytes& batch) {
    seen = batch;
    return true;
  });
  ASSERT_TRUE(other.open());
  other.want(kNode, path("file"));
  other.settle();
  ASSERT_GT(seen.size(), 200U);
  Store store;
  ASSERT_TRUE(store.open());
  ASSERT_TRUE(store.take(seen));
  unsigned refused = 0;
  for (std::size_t n = 0; n < seen.size(); ++n)
    if (!store.take(std::span(seen).first(n))) ++refused;
  EXPECT_GT(refused, seen.size() / 2);
  for (std::size_t at = 0; at < seen.size(); ++at) {
    daemon::names::Bytes bent = seen;
    bent[at] ^= std::byte{0x55};
    static_cast<void>(store.take(bent));
  }
  EXPECT_TRUE(store.take(seen));
}

TEST_F(Names, WhenItWatchesTooMuchItBeginsAnew) {
  Source small(
      [this](const Source::Reader&, const daemon::names::Bytes& batch) {
        EXPECT_TRUE(store_.take(batch));
        return true;
      },
      12);
  ASSERT_TRUE(small.open());
  unsigned told = 0;
  for (int i = 0; i < 40; ++i) {
    const std::string name = "file" + std::to_string(i);
    write(name, "text");
    // The first time there may be no room, or all of it may be given up; then there is.
    for (int again = 0; again < 2 && reader_.node(look(name).id) == nullptr; ++again) {
      small.want(kNode, path(name));
      small.settle();
      small.read_changes();
    }
    if (content(look(name)) == "text") ++told;
  }
  EXPECT_GE(told, 30U);
}

TEST_F(Names, AFileIsKeptForThoseWhoHaveItOpen) {
  write("file", "text");
  const Found f = learn("file");
  ASSERT_EQ(::unlink(path("file").c_str()), 0);
  source_.read_changes();
  const int fd = source_.file_of(f.id, kNode.user);
  ASSERT_GE(fd, 0);
  char text[8] = {};
  EXPECT_EQ(::pread(fd, text, sizeof text, 0), 4);
  EXPECT_STREQ(text, "text");
  EXPECT_EQ(source_.file_of(f.id, kNode.user + 1), -1) << "another user's";
  source_.tick(20'000, true);
  EXPECT_GE(source_.file_of(f.id, kNode.user), 0);
  source_.tick(40'000, true);
  EXPECT_EQ(source_.file_of(f.id, kNode.user), -1) << "its disk space is wanted back";
}

TEST_F(Names, WhenNobodyIsElsewhereItHoldsNothing) {
  write("file", "text");
  source_.tick(1000, true);
  const Found f = learn("file");
  source_.tick(50'000, false);
  EXPECT_GE(source_.file_of(f.id, kNode.user), 0);
  source_.tick(90'000, false);
  EXPECT_EQ(source_.file_of(f.id, kNode.user), -1);
  EXPECT_EQ(content(learn("file")), "text") << "and begins anew";
}

TEST_F(Names, AStatusIsToldInEveryLayout) {
  write("file", "text");
  const Found f = learn("file");
  ASSERT_NE(reader_.node(f.id), nullptr);
  names::NodeFacts facts = Reader::facts(*reader_.node(f.id));
  const struct stat& s = facts.status;
  EXPECT_EQ(facts.wide.stx_ino, s.st_ino);
  EXPECT_EQ(facts.wide.stx_mask & STATX_BASIC_STATS, STATX_BASIC_STATS);
  std::array<std::uint32_t, 32> words{};
  const auto put = [&facts, &words](names::Layout layout) {
    words.fill(0x5a5a5a5a);
    return names::write_status(facts, layout, reinterpret_cast<std::uint64_t>(words.data()));
  };
  ASSERT_EQ(put(names::Layout::Stat64), names::Written::Done);
  EXPECT_EQ(words[2], 0x5a5a5a5aU) << "a gap";
  EXPECT_EQ(words[10], 0x5a5a5a5aU) << "the other one";
  EXPECT_EQ(words[11], 4U) << "the size";
  EXPECT_EQ(words[4], s.st_mode);
  EXPECT_EQ(words[22], static_cast<std::uint32_t>(s.st_ino));
  EXPECT_EQ(words[24], 0x5a5a5a5aU) << "behind it";
  facts.status.st_ino = 77;  // of a file system whose numbers are small
  ASSERT_EQ(put(names::Layout::Stat32), names::Written::Done);
  EXPECT_EQ(words[1], 77U);
  EXPECT_EQ(words[5], 4U) << "the size";
  EXPECT_EQ(words[16], 0x5a5a5a5aU) << "behind it";
  facts.status.st_size = 0x8000'0000;
  EXPECT_EQ(put(names::Layout::Stat32), names::Written::TooLarge);
  EXPECT_EQ(words[0], 0x5a5a5a5aU);
  facts.status.st_size = 4;
  facts.status.st_ino = 0x1'0000'0000;
  EXPECT_EQ(put(names::Layout::Stat32), names::Written::TooLarge);
  facts.status.st_ino = 77;
  facts.status.st_nlink = 0x10000;
  EXPECT_EQ(put(names::Layout::Stat32), names::Written::TooLarge);
  facts.status.st_nlink = 1;
  facts.status.st_uid = 0x10000;
  EXPECT_EQ(put(names::Layout::Stat32), names::Written::Unknown) << "home has an id for it";
}

}  // namespace
}  // namespace hpcvmm
