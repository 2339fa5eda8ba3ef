// Goal: no system call that the table calls the VMM's own reaches the host because its handler was forgotten.
// Method: every row of the table against the handlers; this program is linked like the VMM.
#include "vmm/deputy/dispatch.hh"

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>

#include "vmm/deputy/calls.hh"

namespace hpcvmm::deputy {
namespace {

/// Rows that still name the VMM although the home kernel does the call: what they should be in the table is
/// open. Signals are the host's own, because the host's mask is the guest's; the others change nothing of the
/// VMM. What is not done for them is in their note: descriptors of the VMM that poll names.
constexpr sys::Call kHostDoes[] = {sys::Call::fcntl,
                                   sys::Call::fcntl64,
                                   sys::Call::poll,
                                   sys::Call::kcmp,
                                   sys::Call::pause,
                                   sys::Call::personality,
                                   sys::Call::signalfd,
                                   sys::Call::signalfd4,
                                   sys::Call::rt_sigtimedwait,
                                   sys::Call::rt_sigtimedwait_time64};

bool host_does(sys::Call call) {
  return std::find(std::begin(kHostDoes), std::end(kHostDoes), call) != std::end(kHostDoes);
}

TEST(Dispatch, EveryCallOfTheVmmHasAHandler) {
  unsigned seen = 0;
  for (const sys::Row& row : sys::kRows) {
    // Calls without support are refused by pass_through().
    if (row.runs != sys::Runs::Vmm || row.support == sys::Support::None) continue;
    ++seen;
    EXPECT_NE(find_handler(row.call) != nullptr, host_does(row.call)) << row.name;
  }
  EXPECT_GT(seen, 40U);
}

TEST(Dispatch, HandlersAreOfTheirOwnCalls) {
  EXPECT_EQ(find_handler(sys::Call::mmap), &call_mmap);
  EXPECT_EQ(find_handler(sys::Call::old_mmap), &call_old_mmap);
  EXPECT_EQ(find_handler(sys::Call::ptrace), &call_eperm);
  EXPECT_EQ(find_handler(sys::Call::read), nullptr);
  EXPECT_EQ(find_handler(sys::Call::getpid), nullptr);
}

}  // namespace
}  // namespace hpcvmm::deputy
