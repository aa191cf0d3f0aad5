// Proves: tables line up whatever the names contain, the tree shows every snapshot once in the
// order it grew at any depth, and numbers read as people expect.
#include "cli/printer.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <sstream>

#include "base/text.h"
#include "cli/context.h"
#include "cli/program.h"
#include "cli/snapshot_tree.h"

namespace hozon::cli {
namespace {

TEST(Table, PadsByWhatIsSeen) {
  Table table({"NAME", "SIZE"});
  table.add({"web", "1"});
  table.add({"\xe4\xbf\x9d\xe5\xad\x98", "2"});
  table.add({"a\x1b[31m\n", ""});
  EXPECT_EQ(table.render(false),
            "NAME     SIZE\n"
            "web      1\n"
            "\xe4\xbf\x9d\xe5\xad\x98     2\n"
            "a?[31m?  -\n");
  EXPECT_TRUE(table.render(true).starts_with("\x1b[1mNAME"));
}

TEST(Text, Durations) {
  EXPECT_EQ(duration_text(0), "0 us");
  EXPECT_EQ(duration_text(999), "999 us");
  EXPECT_EQ(duration_text(3200), "3.2 ms");
  EXPECT_EQ(duration_text(1'400'000), "1.4 s");
}

client::Snapshot make(std::string uuid, std::string parent, client::Json memory = nullptr) {
  return client::Snapshot({{"uuid", uuid},
                           {"name", "n-" + uuid},
                           {"parent", parent},
                           {"status", "ok"},
                           {"kind", "user"},
                           {"memory", memory},
                           {"exclusive_bytes", 4096}});
}

client::Machine at(const std::string& current) {
  return client::Machine({{"name", "m"}, {"state", "up"}, {"current_parent", current}});
}

TEST(SnapshotTree, ShowsBranchesAndWhereTheMachineStands) {
  const std::vector<client::Snapshot> snapshots = {make("1", ""), make("2", "1"),
                                                   make("3", "2", {{"stop_us", 3200}}),
                                                   make("4", "1"), make("5", "gone")};
  const client::Machine machine = at("2");
  const std::string text = SnapshotTree(machine, snapshots).to_table().render(false);
  std::vector<std::string> firsts;
  size_t begin = text.find('\n') + 1;
  while (begin < text.size()) {
    const size_t end = text.find('\n', begin);
    const std::string line = text.substr(begin, end - begin);
    firsts.push_back(line.substr(0, line.find("  ", line.find_first_of("n("))));
    begin = end + 1;
  }
  EXPECT_EQ(firsts, (std::vector<std::string>{"n-1", "├─ n-2", "│  ├─ n-3", "│  └─ (you are here)",
                                              "└─ n-4", "n-5"}));
  EXPECT_NE(text.find("memory  -     4.0 KiB  3.2 ms"), std::string::npos) << text;
}

TEST(SnapshotTree, WithoutAnySnapshotTheMachineIsAtTheRoot) {
  const std::vector<client::Snapshot> none;
  const client::Machine machine = at("");
  const client::Json items = SnapshotTree(machine, none).to_json();
  ASSERT_EQ(items.size(), 1U);
  EXPECT_TRUE(items[0]["here"]);
}

TEST(SnapshotTree, AChainOfTenThousandIsDrawnQuickly) {
  std::vector<client::Snapshot> chain;
  for (int i = 1; i <= 10'000; ++i)
    chain.push_back(make(std::to_string(i), i == 1 ? "" : std::to_string(i - 1)));
  const client::Machine machine = at("10000");
  const std::string text = SnapshotTree(machine, chain).to_table().render(false);
  EXPECT_LT(text.size(), 4'000'000U);
  EXPECT_NE(text.find("(you are here)"), std::string::npos);
}

TEST(Progress, FitsTheTerminal) {
  client::Job job;
  job.progress_done = 50;
  job.progress_total = 100;
  job.step = "copying the image";
  EXPECT_EQ(progress_line(job, 200),
            "[############            ]  50%  50 B of 100 B  copying the image");
  EXPECT_EQ(display_width(progress_line(job, 40)), 39U);
  job.progress_done = 500;  // more than expected is still all
  EXPECT_NE(progress_line(job, 200).find("100%"), std::string::npos);
}

TEST(Progress, IsCutBetweenCharacters) {
  client::Job job;
  job.progress_done = 50;
  job.progress_total = 100;
  job.step = "importing the image";
  ::setenv("LC_ALL", "ja_JP.UTF-8", 1);
  EXPECT_EQ(progress_line(job, 200),
            "[############            ]  50%  50 B / 100 B  イメージを取り込んでいます");
  for (size_t columns = 1; columns < 80; ++columns) {
    const std::string line = progress_line(job, columns);
    EXPECT_LT(display_width(line), columns);
    EXPECT_TRUE(is_utf8(line)) << columns;
  }
  ::unsetenv("LC_ALL");
}

TEST(Program, LastLineIsTheReason) {
  EXPECT_EQ(last_line("a\n2026-01-31T12:00:00.123+0000 error hozon-stored: the disk is full\n"),
            "the disk is full");
  EXPECT_EQ(last_line("hozon-stored: error: no\n\n"), "no");
  EXPECT_EQ(last_line(""), "");
}

TEST(Table, FitsTheTerminal) {
  Table table({"NAME", "MESSAGE", "N"});
  table.add({"web", "a message that is much longer than any terminal has room for", "1"});
  table.add({"日本語の名前", "短い", "2"});
  for (const size_t columns : {40U, 60U, 30U}) {
    std::istringstream lines(table.render(false, columns));
    for (std::string line; std::getline(lines, line);)
      EXPECT_LE(display_width(line), columns) << line;
  }
  EXPECT_NE(table.render(false, 40).find("…"), std::string::npos);
  EXPECT_EQ(table.render(false, 200), table.render(false, 0));
  EXPECT_EQ(cut_to_width("日本語", 4), "日…");
  EXPECT_EQ(cut_to_width("abc", 3), "abc");
}

TEST(Yaml, SaysWhatTheJsonSays) {
  EXPECT_EQ(
      yaml_text(nlohmann::json::parse(R"({"a":[{"b":1,"c":[]},{"d":null}],"e":"no","f":{}})")),
      "a:\n  - b: 1\n    c: []\n  - d: null\ne: \"no\"\nf: {}\n")
      << "checked with a reader of YAML in tests/cli";
}

}  // namespace
}  // namespace hozon::cli
