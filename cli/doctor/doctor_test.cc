// Goal: both forms of the report say the same, and scripts can rely on the names.
// Method: hand-made facts, then the real command on this host.
#include "cli/doctor/doctor.hh"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "cli/doctor/report.hh"

namespace hpcvmm::cli {
namespace {

using probe::State;

probe::HostFacts sample() {
  probe::HostFacts facts;
  facts.kernel = "6.1.0";
  facts.machine = "x86_64";
  facts.engines.kvm = {probe::CodeRun::Native, probe::CodeRun::Emulated};
  facts.engines.direct = {true, false};
  facts.items.push_back({.section = "kvm",
                         .key = "exit",
                         .state = State::Degraded,
                         .value = "28.00 us",
                         .number = 28,
                         .unit = "us",
                         .explanation = "why",
                         .remedy = "do this"});
  facts.items.push_back({.section = "memory",
                         .key = "thp",
                         .state = State::Ok,
                         .value = "bad \xff utf-8",
                         .explanation = "fine",
                         .remedy = ""});
  return facts;
}

TEST(DoctorReport, JsonHasTheStableNames) {
  const auto root = nlohmann::json::parse(report_json(sample()));
  EXPECT_EQ(root["engines"]["kvm"]["x86-64"], "native");
  EXPECT_EQ(root["engines"]["kvm"]["ia32"], "emulated");
  EXPECT_EQ(root["engines"]["direct"]["x86-64"], "native");
  EXPECT_EQ(root["engines"]["direct"]["ia32"], "absent");
  EXPECT_EQ(root["auto"]["x86-64"]["engine"], "kvm");
  EXPECT_TRUE(root["auto"]["ia32"]["engine"].is_null());
  EXPECT_EQ(root["items"].size(), 2U);
  EXPECT_EQ(root["items"][0]["state"], "degraded");
  EXPECT_EQ(root["items"][0]["number"], 28);
  EXPECT_EQ(root["items"][0]["remedy"], "do this");
  EXPECT_FALSE(root["items"][1].contains("number"));
}

TEST(DoctorReport, TextIsAlignedAndColoursAreOptional) {
  const std::string plain = report_text(sample(), false);
  EXPECT_EQ(plain.find('\033'), std::string::npos);
  EXPECT_NE(report_text(sample(), true).find("\033[33mdegraded"), std::string::npos);
  EXPECT_NE(plain.find("degraded  exit  28.00 us"), std::string::npos) << plain;
  EXPECT_NE(plain.find("ok        thp   bad"), std::string::npos) << plain;
  EXPECT_NE(plain.find("remedy: do this"), std::string::npos);
  EXPECT_NE(plain.find("no engine for ia32"), std::string::npos);
}

TEST(Doctor, ExitStatusAndJsonOfThisHost) {
  char dir[] = "/tmp/doctor-test-XXXXXX";
  ASSERT_NE(::mkdtemp(dir), nullptr);
  ::setenv("XDG_RUNTIME_DIR", dir, 1);
  testing::internal::CaptureStdout();
  const int status = doctor_main(true);
  const auto root = nlohmann::json::parse(testing::internal::GetCapturedStdout());
  EXPECT_EQ(status == 0, !root["auto"]["x86-64"]["engine"].is_null());
  EXPECT_LT(root["elapsed_ms"], 3000);
  probe::EngineFacts facts;
  EXPECT_TRUE(probe::load_or_measure_engines(facts)) << "doctor must leave a usable cache";
  ::unlink((std::string(dir) + "/hpc-vmm/host-facts").c_str());
  ::rmdir((std::string(dir) + "/hpc-vmm").c_str());
  ::rmdir(dir);
}

}  // namespace
}  // namespace hpcvmm::cli
