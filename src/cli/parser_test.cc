// Proves: every form that scripts rely on is understood, and every wrong command line is refused
// with exit code 2 and one line that names the trouble. Names that look like verbs are just names.
#include "cli/parser.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "cli/context.h"
#include "cli/grammar.h"
#include "cli/messages.h"
#include "cli/nearest.h"

namespace hozon::cli {
namespace {

// Splits at blanks; a word in '...' keeps its blanks, '' is an empty word.
std::vector<std::string> words_of(std::string_view line) {
  std::vector<std::string> words;
  std::string word;
  bool quoted = false;
  bool started = false;
  for (const char c : line) {
    if (c == '\'') {
      quoted = !quoted;
      started = true;
    } else if (c == ' ' && !quoted) {
      if (started) words.push_back(std::exchange(word, ""));
      started = false;
    } else {
      word += c;
      started = true;
    }
  }
  if (started) words.push_back(word);
  return words;
}

Parsed parse(std::string_view line) { return parse_command_line(words_of(line)); }

class ParserTest : public testing::Test {
 protected:
  void SetUp() override { ::unsetenv("HOZON_DIR"); }
  static Arguments good(std::string_view line) {
    const Parsed parsed = parse(line);
    EXPECT_TRUE(parsed.arguments) << line << ": " << parsed.error;
    return parsed.arguments.value_or(Arguments());
  }
};

struct Bad {
  std::string_view line;
  std::string_view says;  // part of the sentence
};

constexpr Bad kBadLines[] = {
    {"", "a command is missing; there are up, down"},
    {"--dir D", "a command is missing"},
    {"-o json", "a command is missing"},
    {"frobnicate", "'frobnicate' is not a command of hozon"},
    {"mach list", "'mach' is not a command"},
    {"Machine list --dir D", "'Machine' is not a command"},
    {"list", "'list' is not a command"},
    {"pool", "a verb is missing; there are create, list"},
    {"volume --dir D", "a verb is missing"},
    {"machine -o json", "a verb is missing"},
    {"snapshot", "a verb is missing"},
    {"job", "a verb is missing"},
    {"volume crate V --dir D", "'crate' is not a verb of 'volume'"},
    {"snapshot revert M N --dir D", "'revert' is not a verb"},
    {"machine star web --dir D", "'star' is not a verb"},
    {"machine list", "which instance?"},
    {"up", "which instance?"},
    {"down", "which instance?"},
    {"up --dir", "--dir"},
    {"up --dir ''", "the directory is empty"},
    {"up D", "D"},
    {"up --dir D --pool-size", "--pool-size"},
    {"up --dir D --pool-size 0", "above zero"},
    {"up --dir D --pool-size 10X", "'10X' is not a size"},
    {"up --dir D --pool-size -5G", "'-5G' is not a size"},
    {"up --dir D --pool-size ten", "'ten' is not a size"},
    {"up --dir D --pool-size ''", "is not a size"},
    {"up --dir D --pool-size 99999999P", "is not a size"},
    {"up --dir D --poolsize 5G", "--poolsize"},
    {"up --dir D extra", "extra"},
    {"down --dir D --timeout x", "timeout"},
    {"down --dir D --timeout -1", "a time is 0 to"},
    {"down --dir D --timeout nan", "a time is 0 to"},
    {"down --dir D --kil", "--kil"},
    {"version extra", "extra"},
    {"version -o xml", "'xml' is not an output form"},
    {"version -o", "-o"},
    {"pool create --dir D", "POOL"},
    {"pool create fast --dir D", "--size"},
    {"pool create fast --size --dir D", "size"},
    {"pool create fast slow --size 1G --dir D", "slow"},
    {"pool show --dir D", "POOL"},
    {"pool list main --dir D", "main"},
    {"pool check --dir D", "POOL"},
    {"pool check main other --dir D", "other"},
    {"pool check main --deep --dir D", "--deep"},
    {"pool scrub --dir D", "POOL"},
    {"pool scrub main --rate fast --dir D", "'fast' is not a size"},
    {"pool delete --dir D", "POOL"},
    {"volume create --dir D --size 1G", "VOLUME"},
    {"volume create V --size 1Q --dir D", "'1Q' is not a size"},
    {"volume create V --size 1G --size 2G --dir D", "--size"},
    {"volume create V --from --dir", "--"},
    {"volume uri --dir D", "VOLUME"},
    {"volume uri V W --dir D", "W"},
    {"volume resize V --dir D", "--size"},
    {"volume snapshot V W --dir D", "--name"},
    {"volume snapshot --name P --dir D", "VOLUME"},
    {"volume clone V@P --dir D", "NEW"},
    {"volume clone --dir D", "VOLUME"},
    {"volume return --dir D", "VOLUME"},
    {"volume delete --dir D", "VOLUME"},
    {"volume delete V W --dir D", "W"},
    {"machine create --image F --dir D", "MACHINE"},
    {"machine create M --disk 10Z --dir D", "'10Z' is not a size"},
    {"machine create M --disk --dir D", "disk"},
    {"machine create M --memory 0 --dir D", "above zero"},
    {"machine create M --memory lots --dir D", "'lots' is not a size"},
    {"machine create M --cpus 0 --dir D", "is not a number from 1"},
    {"machine create M --cpus 1.5 --dir D", "is not a number from 1"},
    {"machine create M --cpus two --dir D", "is not a number from 1"},
    {"machine create M --cpus 99999 --dir D", "is not a number from 1"},
    {"machine start --dir D", "MACHINE"},
    {"machine start M N --dir D", "N"},
    {"machine shutdown M --timeout soon --dir D", "timeout"},
    {"machine console --dir D", "MACHINE"},
    {"snapshot create --dir D", "MACHINE"},
    {"snapshot create M A B --dir D", "B"},
    {"snapshot create M --disks --dir D", "which instance?"},
    {"snapshot create M --memory=maybe --dir D", "memory"},
    {"snapshot return M --dir D", "NAME"},
    {"snapshot return --dir D", "MACHINE"},
    {"snapshot clone M N --dir D", "NEW"},
    {"snapshot rename M N --dir D", "NEW"},
    {"snapshot describe M N --dir D", "TEXT"},
    {"snapshot delete M --dir D", "NAME"},
    {"snapshot delete --dir D", "MACHINE"},
    {"snapshot tree --dir D", "MACHINE"},
    {"job show --dir D", "JOB"},
    {"job show seven --dir D", "'seven' is not a number"},
    {"job show 0 --dir D", "is not a number"},
    {"job show -1 --dir D", "-1"},
    {"job show 99999999999999999999 --dir D", "is not a number"},
};

TEST_F(ParserTest, WrongCommandLinesAreRefusedInOneLine) {
  static_assert(std::size(kBadLines) >= 60);
  for (const Bad& bad : kBadLines) {
    const Parsed parsed = parse(bad.line);
    EXPECT_FALSE(parsed.arguments) << bad.line;
    EXPECT_EQ(parsed.exit_code, ExitCode::kUsage) << bad.line;
    EXPECT_NE(parsed.error.find(bad.says), std::string::npos) << bad.line << ": " << parsed.error;
    EXPECT_EQ(parsed.error.find('\n'), std::string::npos) << bad.line;
    EXPECT_NE(parsed.error.find("--help)"), std::string::npos) << bad.line;
    EXPECT_LT(parsed.error.size(), 300U) << parsed.error;
    EXPECT_EQ(parsed.output, "") << bad.line;
  }
}

TEST_F(ParserTest, TheFormsThatScriptsRelyOn) {
  Arguments a = good("up --dir D --pool-size 20G");
  EXPECT_EQ(a.directory, "D");
  EXPECT_EQ(a.size_bytes, uint64_t{20} << 30);
  a = good("volume create V --size 8G --pool main --dir D");
  EXPECT_EQ(a.object, "V");
  EXPECT_EQ(a.pool, "main");
  a = good("volume snapshot V W --name P --dir D");
  EXPECT_EQ(a.others, (std::vector<std::string>{"V", "W"}));
  EXPECT_EQ(a.name, "P");
  a = good("volume clone V@P NEW --dir D");
  EXPECT_EQ(a.object, "V@P");
  EXPECT_EQ(a.second, "NEW");
  a = good(
      "machine create M --image F --disk 10G --disk 512M --memory 1G --cpus 2 --kernel K --initrd "
      "I "
      "--append 'console=ttyS0 quiet' --dir D");
  EXPECT_EQ(a.object, "M");
  EXPECT_EQ(a.disk_sizes, (std::vector<uint64_t>{uint64_t{10} << 30, uint64_t{512} << 20}));
  EXPECT_EQ(a.memory_bytes, uint64_t{1} << 30);
  EXPECT_EQ(a.cpus, 2U);
  EXPECT_EQ(a.append, "console=ttyS0 quiet");
  a = good("snapshot create M NAME --memory --disks vda,vdb --description T --dir D");
  EXPECT_EQ(a.second, "NAME");
  EXPECT_TRUE(a.with_memory);
  EXPECT_EQ(a.disks, (std::vector<std::string>{"vda", "vdb"}));
  a = good("snapshot create M --memory --dir D");
  EXPECT_EQ(a.second, "");
  a = good("snapshot delete M A B C --yes --dir D");
  EXPECT_EQ(a.others, (std::vector<std::string>{"A", "B", "C"}));
  EXPECT_TRUE(a.yes);
  EXPECT_EQ(good("job show 17 --dir D").job, 17U);
  EXPECT_EQ(good("machine console M --timeout 2.5 --until login: --dir D").timeout_s, 2.5);
}

TEST_F(ParserTest, OptionsOfTheInstanceStandAnywhere) {
  for (const std::string_view line :
       {"--dir D -o json machine list", "machine --dir D -o json list",
        "machine list --dir D -o json", "machine list --dir=D --output json",
        "-o json machine list --dir D"}) {
    const Arguments a = good(line);
    EXPECT_EQ(a.directory, "D") << line;
    EXPECT_EQ(a.format, Format::kJson) << line;
  }
}

TEST_F(ParserTest, TheEnvironmentNamesTheInstance) {
  ::setenv("HOZON_DIR", "/from/env", 1);
  EXPECT_EQ(good("machine list").directory, "/from/env");
  EXPECT_EQ(good("machine list --dir D").directory, "D");
  ::unsetenv("HOZON_DIR");
}

TEST_F(ParserTest, NamesMayLookLikeVerbs) {
  EXPECT_EQ(good("machine show list --dir D").object, "list");
  EXPECT_EQ(good("machine show pool --dir D").object, "pool");
  EXPECT_EQ(good("snapshot create machine snapshot --dir D").second, "snapshot");
  EXPECT_EQ(good("snapshot delete up down version --dir D").others,
            (std::vector<std::string>{"down", "version"}));
  EXPECT_EQ(good("machine show --dir D -- -odd").object, "-odd");
  EXPECT_EQ(good("snapshot create M N --description=-dash --dir D").description, "-dash");
}

TEST_F(ParserTest, EveryVerbHasHelpWithAnExample) {
  for (const std::string_view line : {"up",
                                      "down",
                                      "version",
                                      "pool create",
                                      "pool list",
                                      "pool show",
                                      "pool check",
                                      "pool scrub",
                                      "pool delete",
                                      "volume create",
                                      "volume list",
                                      "volume show",
                                      "volume uri",
                                      "volume resize",
                                      "volume snapshot",
                                      "volume clone",
                                      "volume return",
                                      "volume delete",
                                      "machine create",
                                      "machine list",
                                      "machine show",
                                      "machine start",
                                      "machine pause",
                                      "machine suspend",
                                      "machine resume",
                                      "machine freeze",
                                      "machine thaw",
                                      "machine connect",
                                      "machine shutdown",
                                      "machine kill",
                                      "machine console",
                                      "machine delete",
                                      "snapshot create",
                                      "snapshot list",
                                      "snapshot tree",
                                      "snapshot show",
                                      "snapshot return",
                                      "snapshot clone",
                                      "snapshot rename",
                                      "snapshot describe",
                                      "snapshot delete",
                                      "job list",
                                      "job show"}) {
    const Parsed parsed = parse(std::string(line) + " --help");
    EXPECT_FALSE(parsed.arguments);
    EXPECT_EQ(parsed.exit_code, ExitCode::kOk) << line;
    EXPECT_NE(parsed.output.find("Example:\n  "), std::string::npos) << line;
    EXPECT_NE(parsed.output.find(std::string("hozon ") + std::string(line)), std::string::npos)
        << line << "\n"
        << parsed.output;
  }
  EXPECT_NE(parse("--help").output.find("snapshot"), std::string::npos);
  EXPECT_EQ(parse("--help").output.find("__complete"), std::string::npos);
  EXPECT_EQ(parse("--version").output.substr(0, 6), "hozon ");
}

TEST_F(ParserTest, OnlyVersionNeedsNoInstance) {
  EXPECT_FALSE(good("version").needs_directory);
  EXPECT_FALSE(parse("job list").arguments);
}

TEST_F(ParserTest, CompletionTakesAnyWords) {
  EXPECT_EQ(good("__complete -- snapshot delete --dir D -o json --help m").others.size(), 9U);
  EXPECT_EQ(good("__complete").others.size(), 0U);
}

TEST_F(ParserTest, SuggestsWhatWasMeant) {
  EXPECT_NE(parse("volume crate v").error.find("did you mean 'create'?"), std::string::npos);
  EXPECT_NE(parse("snapshto list web").error.find("did you mean 'snapshot'?"), std::string::npos);
  EXPECT_NE(parse("volume create v --sise 1M").error.find("did you mean '--size'?"),
            std::string::npos)
      << parse("volume create v --sise 1M").error;
  EXPECT_EQ(parse("volume frobnicate v").error.find("did you mean"), std::string::npos);
  EXPECT_EQ(parse("volume create v --quux 1M").error.find("did you mean"), std::string::npos);
}

TEST_F(ParserTest, UrlsAndDirectoriesExcludeEachOther) {
  EXPECT_EQ(good("volume list --url https://h:1").url, "https://h:1");
  EXPECT_FALSE(parse("volume list --url https://h").arguments);
  EXPECT_FALSE(parse("volume list --url ftp://h:1").arguments);
  ::setenv("HOZON_URL", "https://h:1", 1);
  EXPECT_EQ(good("volume list").url, "https://h:1");
  EXPECT_EQ(good("volume list --dir D").url, "");
  EXPECT_EQ(good("down --dir D").url, "");
  EXPECT_FALSE(parse("down").arguments) << "never that of another host";
  ::unsetenv("HOZON_URL");
}

TEST_F(ParserTest, WaitingIsChosenOnce) {
  EXPECT_TRUE(good("machine kill web --no-wait --dir D").no_wait);
  EXPECT_FALSE(good("machine kill web --wait --dir D").no_wait);
  EXPECT_FALSE(parse("machine kill web --wait --no-wait --dir D").arguments);
}

TEST(Grammar, IsWhatTheParserTakes) {
  const Grammar& all = grammar();
  EXPECT_GT(all.verbs.size(), 50U);
  for (const GrammarVerb& verb : all.verbs) {
    EXPECT_FALSE(verb.help.empty());
    EXPECT_TRUE(verb.example.find("hozon ") != std::string::npos) << verb.help;
    std::vector<std::string> words = verb.path;
    words.emplace_back("--help");
    EXPECT_FALSE(parse_command_line(words).output.empty()) << verb.path.back();
  }
}

TEST(Messages, NoHelpLacksAJapaneseText) {
  const auto check = [](const std::string& help) {
    EXPECT_TRUE(japanese().contains(help)) << "add to messages_ja.cc: " << help;
  };
  for (const GrammarNoun& noun : grammar().nouns) check(noun.help);
  for (const GrammarOption& option : grammar().anywhere) check(option.help);
  for (const GrammarVerb& verb : grammar().verbs) {
    check(verb.help);
    for (const GrammarOption& option : verb.options) check(option.help);
  }
}

TEST(Messages, SpeakTheLanguageOfTheEnvironment) {
  ::setenv("LC_ALL", "ja_JP.UTF-8", 1);
  EXPECT_EQ(say("List pools"), "プールの一覧");
  EXPECT_EQ(say("no such message"), "no such message");
  EXPECT_NE(parse_command_line({"pool", "list", "--help"}).output.find("プールの一覧"),
            std::string::npos);
  ::setenv("LC_ALL", "C", 1);
  EXPECT_EQ(say("List pools"), "List pools");
}

TEST(TypingDistance, CountsSlips) {
  EXPECT_EQ(typing_distance("create", "create"), 0U);
  EXPECT_EQ(typing_distance("crate", "create"), 1U);
  EXPECT_EQ(typing_distance("craete", "create"), 1U);
  EXPECT_EQ(typing_distance("", "abc"), 3U);
  EXPECT_EQ(nearest("delte", {"create", "delete", "list"}), "delete");
  EXPECT_EQ(nearest("xyz", {"create", "delete", "list"}), "");
}

TEST(Address, SplitsAtTheAt) {
  EXPECT_EQ(parse_address("V")->volume, "V");
  EXPECT_EQ(parse_address("V@P")->point, "P");
  EXPECT_EQ(parse_address("V@P@Q")->point, "P@Q");
  EXPECT_FALSE(parse_address("@P"));
  EXPECT_FALSE(parse_address("V@"));
  EXPECT_FALSE(parse_address(""));
}

TEST(ExitCodes, FollowTheClassOfTheError) {
  EXPECT_EQ(exit_code_of(Code::kInvalidArgument), ExitCode::kUsage);
  EXPECT_EQ(exit_code_of(Code::kNotFound), ExitCode::kNotFound);
  EXPECT_EQ(exit_code_of(Code::kAlreadyExists), ExitCode::kConflict);
  EXPECT_EQ(exit_code_of(Code::kBusy), ExitCode::kConflict);
  EXPECT_EQ(exit_code_of(Code::kWrongState), ExitCode::kConflict);
  EXPECT_EQ(exit_code_of(Code::kUnavailable), ExitCode::kFailed);
  EXPECT_EQ(exit_code_of(Code::kResourceExhausted), ExitCode::kFailed);
  EXPECT_EQ(exit_code_of(Code::kCorruption), ExitCode::kFailed);
}

}  // namespace
}  // namespace hozon::cli
