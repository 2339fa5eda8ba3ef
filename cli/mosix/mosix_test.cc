// openMosix's command lines: what they mean to hpc-vmm, and what is printed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/mosix/mosctl.hh"
#include "cli/mosix/mosrun.hh"
#include "cli/mosix/mps.hh"
#include "cli/settings.hh"

namespace hpcvmm::cli {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using Words = std::vector<std::string>;

Words launch(const Words& words) {
  const MosrunRequest r = read_mosrun(words);
  EXPECT_EQ(r.error, "");
  return launch_words(r);
}

TEST(Mosrun, Places) {
  EXPECT_THAT(launch({"mosrun", "-3", "sim", "-x"}),
              ElementsAre("launch", "--lock", "--run-on", "3", "--", "sim", "-x"));
  EXPECT_THAT(launch({"mosrun", "-h", "sim"}), ElementsAre("launch", "--lock", "--home-only", "--", "sim"));
  EXPECT_THAT(launch({"mosrun", "-3", "-l", "sim"}),
              ElementsAre("launch", "--unlock", "--run-on", "3", "--", "sim"));
  const MosrunRequest r = read_mosrun({"mosrun", "-j2-4,9", "-F", "sim"});
  EXPECT_THAT(r.one_of, ElementsAre(2, 3, 4, 9));
  EXPECT_TRUE(r.anywhere);
  EXPECT_TRUE(r.settings.lock);
}

TEST(Mosrun, LockByDefaultUnlessDecayIsSaid) {
  EXPECT_THAT(launch({"mosrun", "sim"}), ElementsAre("launch", "--lock", "--", "sim"));
  EXPECT_THAT(launch({"mosrun", "-c", "sim"}), ElementsAre("launch", "--kind", "cpu", "--", "sim"));
  EXPECT_TRUE(read_mosrun({"mosrun", "-c", "sim"}).keep_lock);
  EXPECT_FALSE(settings_request(read_mosrun({"mosrun", "-c", "sim"})).contains("locked"));
  EXPECT_THAT(launch({"mosrun", "-iL", "sim"}), ElementsAre("launch", "--lock", "--kind", "io", "--", "sim"));
  EXPECT_THAT(launch({"mosrun", "-l", "sim"}), ElementsAre("launch", "--unlock", "--", "sim"));
  EXPECT_THAT(launch({"mosrun", "-t", "5", "-d900", "sim"}),
              ElementsAre("launch", "--decay", "fast", "--", "sim"));
  EXPECT_THAT(launch({"mosrun", "-d", "1000", "sim"}), ElementsAre("launch", "--decay", "none", "--", "sim"));
}

TEST(Mosrun, Wrappers) {
  EXPECT_THAT(launch({"/usr/bin/nomig", "sim"}), ElementsAre("launch", "--lock", "--", "sim"));
  EXPECT_THAT(launch({"runhome", "sim"}), ElementsAre("launch", "--lock", "--home-only", "--", "sim"));
  EXPECT_THAT(launch({"runon", "2", "sim", "-5"}),
              ElementsAre("launch", "--lock", "--run-on", "2", "--", "sim", "-5"));
  EXPECT_THAT(launch({"cpujob", "sim"}), ElementsAre("launch", "--kind", "cpu", "--", "sim"));
  EXPECT_THAT(launch({"iojob", "-2", "sim"}),
              ElementsAre("launch", "--lock", "--run-on", "2", "--kind", "io", "--", "sim"));
  EXPECT_THAT(launch({"nodecay", "sim"}), ElementsAre("launch", "--decay", "none", "--", "sim"));
  EXPECT_THAT(launch({"slowdecay", "sim"}), ElementsAre("launch", "--decay", "slow", "--", "sim"));
  EXPECT_THAT(launch({"fastdecay", "-z", "sim", "zero", "one"}),
              ElementsAre("launch", "--decay", "fast", "--argv0", "zero", "--", "sim", "one"));
}

TEST(Mosrun, Wrong) {
  for (const Words& words : {Words{"mosrun"},
                             {"mosrun", "-3"},
                             {"mosrun", "-3", "-h", "x"},
                             {"mosrun", "-lL", "x"},
                             {"mosrun", "-y", "x"},
                             {"mosrun", "-jx", "x"},
                             {"mosrun", "-0", "x"},
                             {"mosrun", "-99999", "x"},
                             {"mosrun", "-t"},
                             {"runon", "x", "y"},
                             {"runon"},
                             {"runon", "3"}})
    EXPECT_NE(read_mosrun(words).error, "") << testing::PrintToString(words);
  EXPECT_TRUE(read_mosrun({"mosrun", "--help"}).help);
  EXPECT_EQ(read_mosrun({"mosrun", "--", "-x"}).program, Words{"-x"});
}

TEST(Mosrun, EveryNameExplainsItself) {
  for (const char* name :
       {"mosrun", "nomig", "runhome", "runon", "cpujob", "iojob", "nodecay", "slowdecay", "fastdecay"}) {
    const Page p = mosrun_page(name);
    EXPECT_NE(p.summary, "") << name;
    EXPECT_THAT(help_text(p), HasSubstr(std::string(name)));
  }
}

TEST(Settings, Words) {
  wire::local::Settings s;
  SettingsWords w;
  EXPECT_EQ(read_settings(w, s), "");
  EXPECT_EQ(s.given, 0) << "nothing is said";
  w.nodes = "3,1-2,2";
  w.decay = "none";
  EXPECT_EQ(read_settings(w, s), "");
  EXPECT_EQ(s.given, 1);
  EXPECT_EQ(s.mask_mode, wire::local::MaskMode::Allow);
  EXPECT_EQ(s.mask_count, 3);
  EXPECT_EQ(s.mask_nodes[0], 1);
  EXPECT_EQ(s.mask_nodes[2], 3);
  EXPECT_EQ(s.decay, wire::local::Decay::None);
  w.except_nodes = "1";
  EXPECT_NE(read_settings(w, s), "");
  w.nodes.clear();
  w.except_nodes = "1-65";
  EXPECT_THAT(read_settings(w, s), HasSubstr("64 nodes at most"));
  w.except_nodes = "5-4";
  EXPECT_THAT(read_settings(w, s), HasSubstr("5-4"));
  w = {};
  w.lock = w.unlock = true;
  EXPECT_NE(read_settings(w, s), "");
}

TEST(Mosctl, Orders) {
  EXPECT_EQ(plan_mosctl({"stay"}).request, json::parse(R"({"op":"ctl","set":{"stay":true}})"));
  EXPECT_EQ(plan_mosctl({"nolstay"}).request, json::parse(R"({"op":"ctl","set":{"lstay":false}})"));
  EXPECT_EQ(plan_mosctl({"-block"}).request, json::parse(R"({"op":"ctl","set":{"block":false}})"));
  EXPECT_FALSE(plan_mosctl({"stay"}).waits);
  EXPECT_TRUE(plan_mosctl({"expel"}).waits) << "returns when the guests are gone";
  EXPECT_TRUE(plan_mosctl({"bring"}).waits);
  EXPECT_FALSE(plan_mosctl({"noexpel"}).waits);
  EXPECT_TRUE(plan_mosctl({"nomfs"}).request.is_null());
  EXPECT_NE(plan_mosctl({"mfs"}).error, "");
  EXPECT_EQ(plan_mosctl({"setspeed", "5000"}).request["set"]["speed"], 0.5);
  EXPECT_EQ(plan_mosctl({"setdecay", "60", "975", "926"}).request,
            json::parse(R"({"op":"ctl","set":{"decay_interval":60,"slow_decay":975,"fast_decay":926}})"));
  for (const Words& words : {Words{},
                             {"nothing"},
                             {"drain"},
                             {"stay", "1"},
                             {"setspeed"},
                             {"setspeed", "x"},
                             {"setdecay", "0"},
                             {"setdecay", "60", "975"},
                             {"setdecay", "60", "975", "1001"},
                             {"getload", "0"},
                             {"getload", "x"},
                             {"setyard", "0"},
                             {"setyard", "PII"},
                             {"setx"}})
    EXPECT_NE(plan_mosctl(words).error, "") << testing::PrintToString(words);
}

json cluster() {
  return json::parse(R"({"ok":true,"self":1,"nodes":[
    {"id":1,"state":"up","address":"10.77.0.1:7200","cpus":2,"speed":1.5,"run_queue":3,"memory_total":1000,
     "memory_free":600,"paging":0.1,"orders":["stay"]},
    {"id":2,"state":"down","address":"10.77.0.2:7200","cpus":2,"why":"no answer","orders":[]}]})");
}

MosctlText asked(const Words& words, double yard = 1) {
  return mosctl_text(plan_mosctl(words), cluster(), yard);
}

TEST(Mosctl, Questions) {
  EXPECT_EQ(asked({"whois"}).out, "This is openMosix #1\n");
  EXPECT_EQ(asked({"whois", "2"}).out, "10.77.0.2\n");
  EXPECT_EQ(asked({"whois", "10.77.0.2"}).out, "2\n");
  EXPECT_EQ(asked({"whois", "3"}).status, 1);
  EXPECT_EQ(asked({"getload"}).out, "100\n") << "three threads on two CPUs of 1.5";
  EXPECT_EQ(asked({"getload"}, 2).out, "200\n") << "of a yardstick twice as fast";
  EXPECT_EQ(asked({"getspeed", "1"}).out, "15000\n");
  EXPECT_EQ(asked({"getmem"}).out, "600\n");
  EXPECT_EQ(asked({"getutil"}).out, "90\n");
  EXPECT_EQ(asked({"status"}).out, "node 1: up stay\n");
  EXPECT_EQ(asked({"status", "2"}).out, "node 2: down (no answer)\n");
  EXPECT_EQ(asked({"isup"}).out, "yes\n");
  EXPECT_EQ(asked({"isup", "2"}).out, "no\n");
  EXPECT_EQ(asked({"isup", "2"}).status, 1);
  EXPECT_EQ(asked({"isup", "9"}).out, "no\n");
  EXPECT_EQ(asked({"getload", "2"}).status, 1);
  EXPECT_EQ(asked({"getload", "9"}).status, 1);
  EXPECT_EQ(asked({"getyard"}, 0.5).out, "5000\n");
  const json settings = json::parse(
      R"({"ok":true,"settings":{"stay":false,"decay_interval":60,"slow_decay":975,"fast_decay":926,"hysteresis":0.2}})");
  EXPECT_EQ(mosctl_text(plan_mosctl({"getdecay"}), settings, 1).out,
            "every 60 seconds; kept: slow 975, fast 926 per 1000\n");
  EXPECT_EQ(mosctl_text(plan_mosctl({"gettune"}), settings, 1).out,
            "decay_interval 60\nfast_decay 926\nhysteresis 0.2\nslow_decay 975\n");
}

TEST(Mps, Columns) {
  const std::map<int, MpsFacts> facts{{42, {3, 2, true}}, {7, {1, 0, false}}};
  EXPECT_EQ(
      with_nodes("    PID TTY      TIME CMD\n     42 pts/0 00:00 sim\n   1234 pts/0 00:00 bash\n", facts),
      " NODE NMIGS LOCK     PID TTY      TIME CMD\n"
      "    3     2  yes      42 pts/0 00:00 sim\n"
      "    -     -    -    1234 pts/0 00:00 bash\n");
  EXPECT_THAT(with_nodes("USER PID %CPU\nroot 7 0.0\n", facts), HasSubstr("    1     0   no root 7 0.0\n"));
  EXPECT_EQ(with_nodes("CMD\nsim\n", facts), "CMD\nsim\n") << "no number, no node";
  EXPECT_EQ(with_nodes("", facts), "");
}

}  // namespace
}  // namespace hpcvmm::cli
