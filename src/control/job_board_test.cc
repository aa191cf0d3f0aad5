// Proves J1 to J3: locks are held exactly while a job lives and a refusal names it; a job that
// fails takes back what it journaled, newest first; what an ended program left is taken back at the
// next start; an action that fails because somebody is away is repeated.
#include "control/job_board.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <filesystem>

namespace hozon::control {
namespace {

using nlohmann::json;

class JobBoardTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char text[] = "/tmp/hozon-jobs-XXXXXX";
    directory_ = ::mkdtemp(text);
    inventory_ = std::make_unique<Inventory>(*Inventory::open(directory_ + "/hozon.db"));
    open_board();
  }
  void TearDown() override {
    board_.reset();
    inventory_.reset();
    std::filesystem::remove_all(directory_);
  }
  void open_board() {
    board_ = std::make_unique<JobBoard>(
        *inventory_, [this](const std::string& action, const json& arguments) -> Status {
          if (away_ > 0) {
            --away_;
            return make_error(Code::kUnavailable, "away");
          }
          undone_.push_back(action + arguments.value("n", ""));
          return {};
        });
  }
  static JobBoard::Begin named(const std::string& kind, std::vector<std::string> locks = {}) {
    return {.kind = kind,
            .object = "web",
            .key = "",
            .locks = std::move(locks),
            .subject = "machine 'web'"};
  }

  std::string directory_;
  std::unique_ptr<Inventory> inventory_;
  std::vector<std::string> undone_;
  std::atomic<int> away_ = 0;
  std::unique_ptr<JobBoard> board_;
};

TEST_F(JobBoardTest, ADoneJobKeepsItsResultAndUndoesNothing) {
  const JobId id = *board_->begin(named("a"), [](JobRun& run) -> Result<json> {
    HOZON_TRY(run.journal("take.back", json::object()));
    HOZON_TRY(run.commit([] { return Status(); }));
    return json{{"answer", 42}};
  });
  const Job job = *board_->wait(id, 5000);
  EXPECT_EQ(job.state, JobState::kDone);
  EXPECT_EQ(job.result.at("answer"), 42);
  EXPECT_EQ(board_->job(id)->result.at("answer"), 42);
  EXPECT_TRUE(undone_.empty());
}

TEST_F(JobBoardTest, AFailedJobIsTakenBackNewestFirst) {
  const JobId id = *board_->begin(named("a"), [](JobRun& run) -> Result<json> {
    for (const char* n : {"1", "2", "3"}) HOZON_TRY(run.journal("undo", {{"n", n}}));
    return make_error(Code::kIo, "it broke");
  });
  const Job job = *board_->wait(id, 5000);
  EXPECT_EQ(job.state, JobState::kFailed);
  EXPECT_EQ(job.error->what, "it broke");
  EXPECT_EQ(undone_, (std::vector<std::string>{"undo3", "undo2", "undo1"}));
}

TEST_F(JobBoardTest, LocksNameTheirJobAndEndWithIt) {
  std::atomic<bool> go = false;
  const JobId first = *board_->begin(named("slow", {"machine:1"}), [&](JobRun&) -> Result<json> {
    while (!go) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return json();
  });
  EXPECT_EQ(board_->lock_of("machine:1")->job, first.value);
  const auto second =
      board_->begin(named("other", {"machine:1"}), [](JobRun&) -> Result<json> { return json(); });
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kBusy);
  EXPECT_NE(second.error().what.find(fmt::format("job {} (slow)", first.value)), std::string::npos)
      << second.error().what;
  go = true;
  EXPECT_TRUE(board_->wait(first, 5000)->is_ended());
  EXPECT_FALSE(board_->lock_of("machine:1"));
  EXPECT_EQ(board_->jobs(10).size(), 1U);  // the refused one left no record
}

TEST_F(JobBoardTest, AnActionIsRepeatedWhileSomebodyIsAway) {
  away_ = 1;
  const JobId id = *board_->begin(named("a", {"machine:1"}), [](JobRun& run) -> Result<json> {
    HOZON_TRY(run.journal("undo", json::object()));
    return make_error(Code::kIo, "it broke");
  });
  EXPECT_EQ(board_->wait(id, 200)->state, JobState::kRunning);
  EXPECT_TRUE(board_->lock_of("machine:1"));
  EXPECT_EQ(board_->wait(id, 5000)->state, JobState::kFailed);
  EXPECT_EQ(undone_.size(), 1U);
}

TEST_F(JobBoardTest, CancelRollsBack) {
  const JobId id = *board_->begin(named("a"), [](JobRun& run) -> Result<json> {
    HOZON_TRY(run.journal("undo", json::object()));
    for (;;) {
      HOZON_TRY(run.check());
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  ASSERT_TRUE(board_->cancel(id));
  EXPECT_EQ(board_->wait(id, 5000)->state, JobState::kCancelled);
  EXPECT_EQ(undone_.size(), 1U);
  EXPECT_EQ(board_->cancel(id).error().code, Code::kWrongState);
}

TEST_F(JobBoardTest, AnInterruptedJobIsSettledByTheNextProgram) {
  const JobId id = *board_->begin(named("a", {"machine:1"}), [](JobRun& run) -> Result<json> {
    HOZON_TRY(run.journal("undo", json::object()));
    for (;;) {
      HOZON_TRY(run.check());
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  board_.reset();
  EXPECT_TRUE(undone_.empty());
  open_board();
  ASSERT_TRUE(board_->recover());
  EXPECT_EQ(board_->wait(id, 5000)->state, JobState::kFailed);
  EXPECT_EQ(undone_.size(), 1U);
  EXPECT_FALSE(board_->lock_of("machine:1"));
}

TEST_F(JobBoardTest, AKeyStandsForItsFirstJob) {
  JobBoard::Begin begin = named("a");
  begin.key = "once";
  const JobId id = *board_->begin(begin, [](JobRun&) -> Result<json> { return json(); });
  EXPECT_EQ(**board_->find_key("once"), id);
  EXPECT_FALSE(board_->find_key("twice")->has_value());
  EXPECT_FALSE(board_->find_key("")->has_value());
}

}  // namespace
}  // namespace hozon::control
