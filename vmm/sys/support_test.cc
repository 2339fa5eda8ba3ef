// Goal: the printed table says what the rows say.
#include "vmm/sys/support.hh"

#include <gtest/gtest.h>

#include "vmm/sys/table.hh"

namespace hpcvmm::sys {
namespace {

std::size_t count(const std::string& text, std::string_view what) {
  std::size_t n = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

TEST(Support, TextHasOneLinePerCall) {
  const std::string all = support_text(Column::Both);
  EXPECT_EQ(count(all, "\n"), kRows.size() + 2);
  EXPECT_NE(all.find("\nread                           0     3  host     full     home     IA32: "),
            std::string::npos);
  EXPECT_NE(all.find("\nstat64                         -   195  vmm"), std::string::npos);
  EXPECT_EQ(support_text(Column::X64).find("\nstat64 "), std::string::npos);
  EXPECT_EQ(support_text(Column::Ia32).find("\naccept "), std::string::npos);
}

TEST(Support, JsonIsBalancedAndEscaped) {
  const std::string json = support_json(Column::Both);
  EXPECT_EQ(count(json, "{"), count(json, "}"));
  EXPECT_EQ(count(json, "["), count(json, "]"));
  EXPECT_EQ(count(json, "\"nr_ia32\":"), kRows.size());
  EXPECT_EQ(count(json, "\n"), 0U);
  EXPECT_TRUE(json.starts_with(
      "{\"calls\":[{\"name\":\"read\",\"nr_x86_64\":0,\"nr_ia32\":3,\"runs\":\"host\",\"support\":\"full\","
      "\"mobility\":\"home\",\"restart\":\"sys\",\"twin\":true,\"args\":[{\"name\":\"fd\",\"kind\":\"fd\"},"
      "{\"name\":\"buf\",\"kind\":\"out_buf\"},{\"name\":\"count\",\"kind\":\"size\"}],"));
  EXPECT_NE(json.find("\"name\":\"accept\",\"nr_x86_64\":43,\"nr_ia32\":null"), std::string::npos);
}

}  // namespace
}  // namespace hpcvmm::sys
