// Proves: a plan is told in the user's language, with the values as they are; the programs' words
// (kinds of jobs, names) stay.
#include "cli/plan.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace hozon::cli {
namespace {

const client::Json kPlan = {
    {"kind", "snapshot.return"},
    {"object", "web@before"},
    {"guest", "restart"},
    {"frees_bytes", 0},
    {"makes", {"snapshot web@before-return-1 (the state that is left)"}},
    {"removes", {"snapshot web@after"}},
    {"unreachable", {"the memory of the guest that runs now"}},
    {"identity", {"new VM generation id; uuid and MAC addresses stay"}},
    {"notes", {"in the end the machine is up", "something that is not known"}}};

TEST(Plan, IsToldInEnglish) {
  ::setenv("LC_ALL", "C", 1);
  const std::string text = plan_text(kPlan);
  ::unsetenv("LC_ALL");
  EXPECT_NE(text.find("is ended, and the other state runs"), std::string::npos) << text;
  EXPECT_NE(text.find("snapshot web@before-return-1 (the state that is left)"), std::string::npos);
  EXPECT_TRUE(text.ends_with("\nNothing was changed.\n"));
}

TEST(Plan, IsToldInJapanese) {
  ::setenv("LC_ALL", "ja_JP.UTF-8", 1);
  const std::string text = plan_text(kPlan);
  ::unsetenv("LC_ALL");
  EXPECT_EQ(text,
            "計画:              snapshot.return web@before\n"
            "ゲスト:            終了し、もう一つの状態が動きます\n"
            "およその所要:      0 us\n"
            "作られるもの:      スナップショット web@before-return-1（離れる状態）\n"
            "除かれるもの:      スナップショット web@after\n"
            "届かなくなるもの:  今動いているゲストのメモリ\n"
            "識別情報:          VM 世代 ID は新しくなり、uuid と MAC アドレスはそのまま\n"
            "注意:              終わったとき、マシンは up です\n"
            "注意:              something that is not known\n"
            "何も変えていません。\n");
}

TEST(Plan, ResultsTellOneSentenceALine) {
  const client::Json result = {{"steps", {"loading memory", "a\nb"}}};
  ::setenv("LC_ALL", "ja_JP.UTF-8", 1);
  EXPECT_EQ(sentences_text(result, "steps"), "\n  メモリを読み込んでいます\n  a?b");
  ::unsetenv("LC_ALL");
  EXPECT_EQ(sentences_text(result, "notes"), "");
}

}  // namespace
}  // namespace hozon::cli
