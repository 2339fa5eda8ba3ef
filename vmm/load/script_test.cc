// Goal: #! lines are cut up as Linux does it, down to its odd cases.  Expectations: fs/binfmt_script.c, and
// program_test.cc, which asks the host kernel.
#include "vmm/load/script.hh"

#include <gtest/gtest.h>

#include <cerrno>
#include <string>

namespace hpcvmm::load {
namespace {

ScriptLine parse(const std::string& text) { return parse_script(std::as_bytes(std::span(text))); }

void expect_line(const std::string& text, const std::string& interpreter, const char* argument) {
  const ScriptLine line = parse(text);
  EXPECT_TRUE(line.is_script) << text;
  EXPECT_TRUE(line.verdict.ok()) << text;
  EXPECT_EQ(line.interpreter, interpreter) << text;
  EXPECT_EQ(line.has_argument, argument != nullptr) << text;
  EXPECT_EQ(line.argument, argument != nullptr ? argument : "") << text;
}

TEST(Script, Lines) {
  expect_line("#!/bin/sh\n", "/bin/sh", nullptr);
  expect_line("#!/bin/sh", "/bin/sh", nullptr);
  expect_line("#! \t /bin/sh \t\n", "/bin/sh", nullptr);
  expect_line("#!/bin/sh -e\n", "/bin/sh", "-e");
  expect_line("#!/bin/sh \t -e  -x \t\nmore", "/bin/sh", "-e  -x");
  expect_line("#!a\n", "a", nullptr);
  expect_line("#!/bin/sh\r\n", "/bin/sh\r", nullptr);
  expect_line("#!/bin/sh ", "/bin/sh", "");  // no newline: the NUL behind the blank counts as a word
  expect_line(std::string("#!\0x\n", 5), "", nullptr);
}

TEST(Script, NoInterpreter) {
  for (const char* text : {"#!\n", "#! \n", "#!\t \t\n/bin/sh"})
    EXPECT_EQ(parse(text).verdict.error, ENOEXEC) << text;
  EXPECT_EQ(parse("#!" + std::string(300, ' ')).verdict.error, ENOEXEC);
  for (const char* text : {"", "#", "!#", " #!/bin/sh",
                           "\x7f"
                           "ELF"})
    EXPECT_FALSE(parse(text).is_script) << text;
}

// 256 bytes count.  A path that ends within them is good, one that may go on is not; an argument is cut.
TEST(Script, LimitOfTheLine) {
  const std::string longest(252, 'x');
  expect_line("#!/" + longest + "\n", "/" + longest, nullptr);       // newline is byte 256
  EXPECT_EQ(parse("#!/" + longest + "x\n").verdict.error, ENOEXEC);  // newline is byte 257
  expect_line("#!/" + longest + " arg\n", "/" + longest, nullptr);   // blank is byte 256
  expect_line("#!/x " + std::string(300, 'a'), "/x", std::string(250, 'a').c_str());
}

}  // namespace
}  // namespace hpcvmm::load
