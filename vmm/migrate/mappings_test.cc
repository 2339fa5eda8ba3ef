// Goal: what /proc/self/maps calls shared memory is told as the kind of memory that programs ask for.
#include "vmm/migrate/mappings.hh"

#include <gtest/gtest.h>

#include <string>

namespace hpcvmm::migrate {
namespace {

using wire::local::Mapping;
using wire::local::SharedKind;

void expect(const std::string& path, SharedKind kind, const std::string& name) {
  Mapping m;
  name_mapping(path, m);
  EXPECT_EQ(m.kind, kind) << path;
  EXPECT_EQ(m.name, name) << path;
}

TEST(Mappings, KindsAndNames) {
  expect("/dev/zero (deleted)", SharedKind::Anonymous, "");
  expect("/dev/zero", SharedKind::File, "/dev/zero");
  expect("/memfd:my ring (deleted)", SharedKind::Memfd, "my ring");
  expect("/SYSV0000002a (deleted)", SharedKind::SystemV, "0x0000002a");
  expect("/SYSVxyz (deleted)", SharedKind::File, "/SYSVxyz (deleted)");
  expect("/dev/shm/a", SharedKind::Posix, "/a");
  expect("/dev/shm/sem.b (deleted)", SharedKind::Posix, "/sem.b (deleted)");
  expect("/tmp/data", SharedKind::File, "/tmp/data");
  expect("anon_inode:[perf_event]", SharedKind::Other, "anon_inode:[perf_event]");
  expect("", SharedKind::Other, "");
}

TEST(Mappings, LongNamesAreCutOff) {
  Mapping m;
  name_mapping("/tmp/" + std::string(300, 'x'), m);
  EXPECT_EQ(std::string(m.name), "/tmp/" + std::string(sizeof m.name - 6, 'x'));
}

}  // namespace
}  // namespace hpcvmm::migrate
