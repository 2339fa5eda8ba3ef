// Pages from CLI11, and man pages and completions from pages.  What the shells and man say to the real ones:
// tests/tools.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/man/app_page.hh"
#include "cli/man/completion.hh"
#include "cli/man/daemon_pages.hh"
#include "cli/man/roff.hh"

namespace hpcvmm::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

std::vector<Page> sample() {
  CLI::App app;
  CLI::App* const verb = app.add_subcommand("start", "start a program");
  static std::string engine = "auto";
  static unsigned node = 0;
  static bool flag = false;
  static std::vector<std::string> program;
  verb->add_option("--engine", engine, "how")->check(CLI::IsMember({"auto", "kvm"}))->capture_default_str();
  verb->add_option("-n,--node", node, "where")->check(CLI::Range(1U, 65535U));
  verb->add_flag("-v,--verbose", flag, "it's .bold\\");
  verb->add_option("--secret", node, "x")->group("");
  verb->add_option("program", program, "what")->required();
  verb->footer("Example:\n.start -x");
  app.add_subcommand("hidden", "not shown")->group("");
  return pages_of_verbs(app, "hpc-vmm");
}

TEST(Pages, OfCli11) {
  const std::vector<Page> pages = sample();
  ASSERT_EQ(pages.size(), 1U);
  const Page& p = pages[0];
  EXPECT_EQ(p.usage, std::vector<std::string>{"hpc-vmm start [OPTIONS] program"});
  std::vector<std::string> names;
  for (const PageOption& o : p.options) names.insert(names.end(), o.names.begin(), o.names.end());
  EXPECT_THAT(names, ElementsAre("-h", "--help", "--engine", "-n", "--node", "-v", "--verbose"));
  EXPECT_THAT(p.options[1].choices, ElementsAre("auto", "kvm"));
  EXPECT_EQ(p.options[1].usual, "auto");
  EXPECT_EQ(p.options[1].value, "TEXT");
  EXPECT_EQ(p.options[3].value, "") << "a flag";
  const Page again = page_of_json(page_json(p));
  EXPECT_EQ(page_json(again), page_json(p));
}

TEST(Roff, NothingOfTheTextIsACommand) {
  EXPECT_EQ(roff_text(".x\n'y\\-z"), "\\&.x\n\\&'y\\e\\-z");
  const std::string page = man_page(sample()[0], {"1.0", "2026-01-01"});
  EXPECT_THAT(page, HasSubstr(".TH HPC-VMM-START 1 \"2026-01-01\""));
  EXPECT_THAT(page, HasSubstr("hpc\\-vmm\\-start \\- start a program\n"));
  EXPECT_THAT(page, HasSubstr("\n\\&.start \\-x\n"));
  EXPECT_THAT(page, HasSubstr("One of: \\fBauto\\fR, \\fBkvm\\fR.\nUsually \\fBauto\\fR.\n"));
  EXPECT_THAT(page, Not(HasSubstr("secret")));
}

TEST(Daemon, PagesOfOtherSections) {
  const std::vector<Page> pages = daemon_pages();
  ASSERT_EQ(pages.size(), 2U);
  for (const Page& p : pages) EXPECT_EQ(page_json(page_of_json(page_json(p))), page_json(p));
  const std::string program = man_page(pages[0], {"1.0", "2026-01-01"});
  EXPECT_THAT(program, HasSubstr(".TH HPCD 8 "));
  EXPECT_THAT(program, HasSubstr("\\fB\\-\\-config\\fR \\fIFILE\\fR\n"));
  EXPECT_THAT(program, HasSubstr(".BR hpc\\-vmm (1),\n.BR hpc\\-vmm.toml (5),\n"));
  const std::string file = man_page(pages[1], {"1.0", "2026-01-01"});
  EXPECT_THAT(file, HasSubstr(".TH HPC-VMM.TOML 5 "));
  EXPECT_THAT(file, HasSubstr("\\fBdriver\\fR = \\fIstring\\fR\nhow packets are sent.\nOne of: \\fBudp\\fR"));
  EXPECT_THAT(file, HasSubstr("\\fBaddress\\fR = \\fIstring\\fR\nRequired: "));
  EXPECT_THAT(man_overview(pages, {"1.0", "2026-01-01"}), HasSubstr(".SH THE DAEMON\n.TP\n.BR hpcd (8)\n"));
  const std::string bash = bash_completion(pages);
  EXPECT_THAT(bash, HasSubstr("complete -F _hpcvmm_old hpcd\n"));
  EXPECT_THAT(bash, HasSubstr("\"--help --version\"")) << "hpcd is no verb";
  EXPECT_THAT(bash, Not(HasSubstr("toml)")));
}

TEST(Completion, KindsOfWords) {
  const Page p = sample()[0];
  EXPECT_EQ(word_kind(p.options[1]), WordKind::Choice);
  EXPECT_EQ(word_kind(p.options[2]), WordKind::Node);
  EXPECT_EQ(word_kind(p.positionals[0]), WordKind::Command);
  EXPECT_THAT(bash_completion({p}), HasSubstr("--engine) _hpcvmm_words \"auto kvm\"; return ;;"));
  EXPECT_THAT(zsh_completion({p}), HasSubstr("'--engine[how]:TEXT:(auto kvm)'"));
  EXPECT_THAT(zsh_completion({p}), HasSubstr("[it'\\''s .bold\\\\]"));
}

TEST(Help, Wraps) {
  Page p;
  p.name = "tool";
  p.summary = "does something";
  p.usage = {"tool [-x]"};
  p.options = {{{"-x"}, "N", std::string(70, 'a') + " " + std::string(30, 'b'), "", {}, false}};
  EXPECT_EQ(help_text(p).substr(0, 40), "tool: does something\nUsage: tool [-x]\n\nO");
  EXPECT_THAT(help_text(p), HasSubstr("  -x N                    aaa"));
  EXPECT_THAT(help_text(p), HasSubstr("a\n                          bbb"));
}

}  // namespace
}  // namespace hpcvmm::cli
