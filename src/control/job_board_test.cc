// Proves J1 to J3: locks are held exactly while a job lives and a refusal names it; a job that
// fails takes back what it journaled, newest first; what an ended program left is taken back at the
// next start; an action that fails because somebody is away is repeated; one that fails for good
// is named, kept and tried again at the next start (J3); J4; J5.
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
        *inventory_, [this](const std::string& action, const json& arguments) -> Result<Settled> {
          if (away_ > 0) {
            --away_;
            return make_error(Code::kUnavailable, "away");
          }
          before_ns_ = arguments.value("before_ns", uint64_t{0});
          if (broken_ && arguments.value("n", "") == "broken")
            return make_error(Code::kIo, "the disk is broken");
          if (action == "finish") return Settled::kFinished;
          undone_.push_back(action + arguments.value("n", ""));
          return Settled::kTakenBack;
        });
  }
  static JobBoard::Begin named(const std::string& kind, std::vector<std::string> locks = {}) {
    return {.kind = kind,
            .object = "web",
            .caller = {},
            .locks = std::move(locks),
            .subject = "machine 'web'"};
  }

  std::string directory_;
  std::unique_ptr<Inventory> inventory_;
  std::vector<std::string> undone_;
  std::atomic<int> away_ = 0;
  std::atomic<bool> broken_ = false;
  uint64_t before_ns_ = 0;
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

TEST_F(JobBoardTest, AnActionThatFailsForGoodIsNamedKeptAndTriedAgainByTheNextProgram) {
  broken_ = true;
  const JobId id = *board_->begin(named("a", {"machine:1"}), [](JobRun& run) -> Result<json> {
    HOZON_TRY(run.journal("undo", {{"n", "1"}}));
    HOZON_TRY(run.journal("undo", {{"n", "broken"}}));
    HOZON_TRY(run.journal("undo", {{"n", "3"}}));
    return make_error(Code::kIo, "it broke");
  });
  const Job job = *board_->wait(id, 5000);
  EXPECT_EQ(job.state, JobState::kUndoFailed);
  EXPECT_EQ(job.error->what, "it broke");
  EXPECT_NE(job.step.find("the disk is broken"), std::string::npos) << job.step;
  EXPECT_EQ(undone_, (std::vector<std::string>{"undo3", "undo1"}));
  EXPECT_FALSE(board_->lock_of("machine:1"));
  broken_ = false;
  board_.reset();
  open_board();
  ASSERT_TRUE(board_->recover());
  EXPECT_EQ(board_->wait(id, 5000)->state, JobState::kFailed);
  EXPECT_EQ(undone_.back(), "undobroken");
  EXPECT_EQ(before_ns_, job.ended_ns);  // what was made later is not the job's
  EXPECT_TRUE(inventory_->steps(id.value)->empty());
}

TEST_F(JobBoardTest, AnInterruptedJobThatItsJournalFinishesIsDone) {
  const JobId id = *board_->begin(named("a"), [](JobRun& run) -> Result<json> {
    HOZON_TRY(run.journal("finish", json::object()));
    return make_error(Code::kUnavailable, "no answer");
  });
  const Job job = *board_->wait(id, 5000);
  EXPECT_EQ(job.state, JobState::kDone);
  EXPECT_FALSE(job.error);
}

TEST_F(JobBoardTest, AJobInterruptedAfterItsCommitIsDoneAndOneThatFailsThereIsNot) {
  const auto work = [](const char* error) {
    return [error](JobRun& run) -> Result<json> {
      HOZON_TRY(run.journal("undo", json::object()));
      HOZON_TRY(run.commit([] { return Status(); }));
      if (error != nullptr) return make_error(Code::kIo, "{}", error);
      for (;;) {
        HOZON_TRY(run.check());
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    };
  };
  const JobId failed = *board_->begin(named("a"), work("it broke"));
  EXPECT_EQ(board_->wait(failed, 5000)->state, JobState::kFailed);
  const JobId id = *board_->begin(named("a"), work(nullptr));
  while (inventory_->steps(id.value)->size() != 1 ||
         inventory_->steps(id.value)->front().op == "undo")
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  board_.reset();
  open_board();
  ASSERT_TRUE(board_->recover());
  EXPECT_EQ(board_->wait(id, 5000)->state, JobState::kDone);
  EXPECT_TRUE(undone_.empty());
}

TEST_F(JobBoardTest, AKeyOfAnotherRequestIsRefused) {
  JobBoard::Begin begin = named("a");
  begin.caller = {.key = "once", .request = "POST /a", .owner = "root"};
  const auto work = [](JobRun&) -> Result<json> { return json(); };
  const JobId id = *board_->begin(begin, work);
  EXPECT_EQ(*board_->begin(begin, work), id);
  begin.caller.request = "POST /b";
  EXPECT_EQ(board_->begin(begin, work).error().code, Code::kInvalidArgument);
  EXPECT_EQ(board_->jobs(10).size(), 1U);
  EXPECT_EQ(board_->jobs(10).front().owner, "root");
}

TEST_F(JobBoardTest, ProgressTellsTheTimeThatIsLeft) {
  std::atomic<bool> go = false;
  const JobId id = *board_->begin(named("a"), [&](JobRun& run) -> Result<json> {
    run.plan_steps(2);
    run.step("first");
    run.step("second");
    run.progress(0, 1000);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    run.progress(250, 1000);
    while (!go) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return json();
  });
  while (board_->job(id)->progress_done < 250)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const Job job = *board_->job(id);
  EXPECT_EQ(job.steps_done, 1U);
  EXPECT_EQ(job.steps_total, 2U);
  EXPECT_GE(*job.eta_ms, 290U);
  go = true;
  EXPECT_EQ(board_->wait(id, 5000)->steps_done, 2U);
}

TEST_F(JobBoardTest, AKeyStandsForItsFirstJob) {
  JobBoard::Begin begin = named("a");
  begin.caller.key = "once";
  const JobId id = *board_->begin(begin, [](JobRun&) -> Result<json> { return json(); });
  EXPECT_EQ(**board_->find_job({.key = "once", .request = "", .owner = ""}), id);
  EXPECT_FALSE(board_->find_job({.key = "twice", .request = "", .owner = ""})->has_value());
  EXPECT_FALSE(board_->find_job({})->has_value());
}

}  // namespace
}  // namespace hozon::control
