// A snapshot with memory: disks and RAM of one instant, while the guest goes on.
//
// `stop` halts the vCPUs and flushes; the disks' points are made; `migrate` with
// background-snapshot write-protects the RAM (qemu-facts.md, section 1). Before that QEMU reads a
// byte of every page, and takes the longer the more there are; so up to 7.2 `migrate` is given
// first, with a stream that takes nothing yet (RamHelper::gate): QEMU does that while the guest
// runs, and waits at its first byte for the end of the cut.
//
// Until 8.2 QEMU then
// resumes the guest by itself; from 9.0 on it leaves a guest that was stopped to us. `cont` is sent
// only when no RESUME came although the first page was seen on the stream: earlier it would let the
// guest run before the protection, and the memory would be of a later instant than the disks. A
// save is never cancelled: QEMU 7.2 would freeze the guest.
#include <cstdlib>

#include "base/log.h"
#include "control/core.h"
#include "control/firmware_state.h"
#include "control/guest_facts.h"
#include "control/json.h"
#include "control/memory_volume.h"
#include "control/migration.h"
#include "control/names.h"
#include "control/settings.h"
#include "control/snapshot_gate.h"
#include "qemu/huge_pages.h"
#include "qemu/ram_image.h"
#include "qemu/ram_save.h"
#include "qemu/thread_watch.h"
#include "qemu/write_protection.h"

namespace hozon::control {
namespace {

using nlohmann::json;

constexpr int kStopMs = 90'000;
constexpr int kListenMs = 100;
// After the first page, before we send `cont`: to a QEMU that resumes by itself, and to another.
constexpr uint64_t kResumePatienceUs = 1'000'000;
constexpr uint64_t kEventPatienceUs = 5'000;
constexpr int kFirstMajorLeftToUs = 9;
// Later ones hold the lock of their main loop while they write their first bytes.
constexpr int kLastMajorToHold = 7;
constexpr int kPrepareMs = 60'000;  // by then QEMU has walked through its memory, or waits with it
constexpr int kPrepareSliceMs = 200;
constexpr int kWatchMs = 2;                   // while the guest stands still
constexpr uint64_t kSilenceUs = 300'000'000;  // without any progress: something hangs
constexpr int kAnswerMs = 2000;
constexpr int kHeldAnswerMs = 10'000;  // a busy host is no reason to give up
constexpr int kHelperEndMs = 10'000;
constexpr int kNoticedMs = 500;  // by then an end of QEMU is known
constexpr int kVerdictSliceMs = 200;
constexpr uint64_t kAskPoolUs = 1'000'000;
constexpr int kPoolAnswerMs = 500;
constexpr uint64_t kBandwidth = 20ULL << 30;  // QEMU's default is 128 MiB/s

// One save, from the stop to both verdicts.
class MemorySave {
 public:
  MemorySave(Core& core, JobRun& run, const MachineRow& machine, SnapshotRow& row)
      : core_(core),
        run_(run),
        machine_(machine),
        row_(row),
        memory_volume_(core, machine),
        helper_name_("save-" + row.uuid),
        suspends_(row.kind == "suspend") {}

  Status run();
  MemoryInfo info() const { return info_; }
  json environment() const { return environment_; }

 private:
  Status prepare();
  Status cut();
  Status follow();
  Status prepare_volume();
  Status choose_mode();
  Status note_environment();
  Status journal_way_back();
  int qemu_major() const { return std::atoi(qmp_->qemu_version().c_str()); }
  Status migrate();
  Status prepare_qemu();
  Status stop_guest();
  Status check_helper();
  Status check_still_held();
  void join_pages();
  Status listen(RamStatus& status, int wait_ms = kListenMs);
  bool waits_for_us(uint64_t since_first_page_us) const;
  Status let_run();
  Status keep_going();
  Result<RamStatus> wait_stored();
  Status take_verdict(const std::string& end);
  void note_result(const RamStatus& verdict);

  Core& core_;
  JobRun& run_;
  const MachineRow& machine_;
  SnapshotRow& row_;
  MemoryVolume memory_volume_;
  const std::string helper_name_;
  const bool suspends_;  // the guest does not go on
  std::shared_ptr<QmpClient> qmp_;
  std::optional<RamHelper> helper_;
  std::vector<std::string> volumes_;
  MemoryInfo info_;
  json environment_;
  bool was_up_ = false;
  bool live_ = false;
  bool held_ = false;  // QEMU prepares before the guest is stopped
  bool resumed_ = false;
  uint64_t started_us_ = 0;
  uint64_t seen_event_ = 0;
  int64_t stopped_at_us_ = 0;
  uint64_t pool_asked_us_ = 0;
};

Status MemorySave::prepare() {
  const GuestHandle guest = HOZON_TRY(core_.guests.handle(machine_.uuid));
  qmp_ = guest.qmp;
  was_up_ = core_.guests.state(machine_.uuid).state == PowerState::kUp;
  if (is_saving(HOZON_TRY(migration_status(*qmp_))))
    return make_error(Code::kBusy, "an earlier save of machine '{}' has not ended: try again later",
                      machine_.name);
  info_.ram_bytes = machine_.memory_bytes;
  info_.state_after_load = was_up_ ? "up" : "paused";
  HOZON_TRY(note_environment());
  HOZON_TRY(prepare_volume());
  HOZON_TRY(choose_mode());
  run_.step("starting the memory helper");
  HOZON_TRY(run_.journal("helper.end", {{"machine", machine_.uuid}, {"name", helper_name_}}));
  helper_ =
      HOZON_TRY(start_ram_save({.program = core_.options.program_directory + "/hozon-ram",
                                .directory = core_.machine_directory(machine_.uuid),
                                .name = helper_name_,
                                .uri = core_.storage.uri(machine_.pool, memory_volume_.name()),
                                .ram_bytes = machine_.memory_bytes,
                                .is_held = held_}));
  return {};
}

Status MemorySave::note_environment() {
  const Accelerator accelerator =
      core_.guests.state(machine_.uuid).accelerator == accelerator_name(Accelerator::kKvm)
          ? Accelerator::kKvm
          : Accelerator::kTcg;
  SavedEnvironment environment;
  environment.normalised = HOZON_TRY(normalised_command_line(
      spec_of(machine_, core_.storage, core_.machine_directory(machine_.uuid), accelerator)));
  environment.qemu_version = qmp_->qemu_version();
  environment.accelerator = accelerator;
  environment_ = to_json(environment);
  return {};
}

Status MemorySave::prepare_volume() {
  HOZON_TRY(
      run_.journal("memory.clear", {{"pool", machine_.pool}, {"volume", memory_volume_.name()}}));
  HOZON_TRY(memory_volume_.prepare(machine_.memory_bytes, row_.parent));
  row_.disks.push_back({kMemoryDisk,
                        memory_volume_.name(),
                        machine_.pool,
                        row_.uuid,
                        memory_volume_bytes(machine_.memory_bytes),
                        {}});
  for (const SnapshotDisk& disk : row_.disks) volumes_.push_back(disk.volume);
  return {};
}

Status MemorySave::choose_mode() {
  live_ = false;
  if (suspends_) {
    info_.mode_reason = "the machine is suspended";
  } else if (!was_up_) {
    info_.mode_reason = "the machine was paused and stays so";
  } else if (core_.images.is_mapped(machine_.uuid)) {
    info_.mode_reason = mapped_memory_sentence(machine_.name);
  } else if (const Status possible = check_live_save_possible(); !possible) {
    info_.mode_reason = possible.error().what;
  } else if (const Status accepted = set_capabilities(*qmp_, true); !accepted) {
    info_.mode_reason = accepted.error().what;
  } else {
    live_ = true;
  }
  info_.mode = live_ ? "live" : "stopped";
  held_ = live_ && qemu_major() <= kLastMajorToHold && core_.qemu_can_be_held;
  if (live_) join_pages();
  if (live_) return {};
  HOZON_TRY(qmp_->call("migrate-set-parameters", {{"max-bandwidth", kBandwidth}}));
  return set_capabilities(*qmp_, false);
}

// In the order in which they are needed, last first: the helper lets go of the volume, which gives
// its space back (a guest whose write waits for space keeps QEMU from ending the save); the points
// go; QEMU ends the save and the guest runs; the helper ends; what it wrote meanwhile goes too.
Status MemorySave::journal_way_back() {
  const json volume = {{"pool", machine_.pool}, {"volume", memory_volume_.name()}};
  HOZON_TRY(
      run_.journal("save.settle", {{"machine", machine_.uuid}, {"run", was_up_}, {"live", live_}}));
  HOZON_TRY(run_.journal("points.delete",
                         {{"pool", machine_.pool}, {"volumes", volumes_}, {"point", row_.uuid}}));
  HOZON_TRY(run_.journal("memory.clear", volume));
  HOZON_TRY(run_.journal("helper.drain", {{"machine", machine_.uuid}, {"name", helper_name_}}));
  return {};
}

Status MemorySave::migrate() {
  HOZON_TRY(qmp_->send_fd("mig", helper_->stream.get()));
  HOZON_TRY(qmp_->call("migrate", {{"uri", "fd:mig"}}));
  helper_->stream = Fd();
  return {};
}

// Best effort: without it the cut takes longer.
void MemorySave::join_pages() {
  const auto guest = core_.guests.handle(machine_.uuid);
  if (!guest) return;
  const auto joined = join_huge_pages(guest->pid, machine_.memory_bytes);
  if (!joined)
    log_info("memory of machine '{}' stays in small pages: {}", machine_.name, joined.error().what);
}

// QEMU gets as far as it can without touching the guest.
Status MemorySave::prepare_qemu() {
  run_.step("preparing QEMU");
  const NewThreads threads(HOZON_TRY(core_.guests.handle(machine_.uuid)).pid);
  HOZON_TRY(migrate());
  const uint64_t end_us = monotonic_us() + uint64_t{kPrepareMs} * 1000;
  while (!threads.wait_at_rest(kPrepareSliceMs) && monotonic_us() < end_us) HOZON_TRY(run_.check());
  const uint64_t answer_end_us = monotonic_us() + uint64_t{kHeldAnswerMs} * 1000;
  do {
    if (qmp_->call("query-status", json::object(), kAnswerMs)) return {};
    HOZON_TRY(check_helper());
  } while (qmp_->is_connected() && monotonic_us() < answer_end_us);
  core_.qemu_can_be_held = false;
  return make_error(Code::kUnavailable,
                    "QEMU of machine '{}' does not answer while it waits for the cut; try again: "
                    "from now on it is not asked to prepare ahead",
                    machine_.name);
}

// QEMU cannot answer when the helper is gone: the save may have lost its reader.
Status MemorySave::check_helper() {
  if (!helper_->process.wait_end(0)) return {};
  return make_error(Code::kUnavailable, "the memory helper of machine '{}' ended without a verdict",
                    machine_.name);
}

// A guest whose save lost its reader cannot be stopped: it sleeps in a write that nobody will allow
// (qemu-facts.md, 1a). That ends with the save, so it is not waited for.
Status MemorySave::stop_guest() {
  const uint64_t end_us = monotonic_us() + uint64_t{kStopMs} * 1000;
  auto answer = qmp_->call("stop", json::object(), kAnswerMs);
  while (!answer && answer.error().code == Code::kUnavailable && qmp_->is_connected() &&
         monotonic_us() < end_us && !helper_->process.wait_end(0))
    answer = qmp_->call("query-status", json::object(), kAnswerMs);  // answered after the stop
  HOZON_TRY(answer);
  return {};
}

Status MemorySave::check_still_held() {
  HOZON_TRY(check_helper());
  const std::string status = HOZON_TRY(migration_status(*qmp_));
  if (status == "setup") return {};
  return make_error(
      Code::kIo,
      "QEMU of machine '{}' did not wait for the cut (its save is '{}'), so memory and "
      "disks are not of one instant",
      machine_.name, status);
}

// What happens between `stop` and the end of this is time that the guest stands still.
Status MemorySave::cut() {
  HOZON_TRY(journal_way_back());
  std::vector<std::string> disks = volumes_;
  disks.pop_back();  // the memory volume gets its point when it is complete
  started_us_ = monotonic_us();
  if (held_) HOZON_TRY(prepare_qemu());
  run_.step("stopping the guest for the cut");
  seen_event_ = qmp_->last_event();
  HOZON_TRY(stop_guest());
  HOZON_TRY(keep_tpm(core_, machine_));
  HOZON_TRY(core_.storage.snapshot(machine_.pool, disks, row_.uuid));
  if (!held_) return migrate();
  HOZON_TRY(check_still_held());
  helper_->gate = Fd();
  return {};
}

// Why the save should end early: somebody wants that, or there is no room for what it stores. A
// full pool makes writes wait, those of guests too, so it is not waited for.
Status MemorySave::keep_going() {
  HOZON_TRY(run_.check());
  const uint64_t now = monotonic_us();
  if (now - pool_asked_us_ < kAskPoolUs) return {};
  pool_asked_us_ = now;
  const auto stats = core_.storage.stats(machine_.pool, kPoolAnswerMs);
  if (stats && stats->parked)
    return make_error(Code::kResourceExhausted,
                      "pool '{}' is full: the memory of machine '{}' does not fit; delete "
                      "snapshots or volumes first",
                      machine_.pool, machine_.name);
  return {};
}

// Takes in what happened since the last call: events of QEMU and the helper's counters.
Status MemorySave::listen(RamStatus& status, int wait_ms) {
  const auto event = qmp_->wait_event({"STOP", "RESUME"}, seen_event_, wait_ms);
  if (event) {
    seen_event_ = event->number;
    if (event->name == "STOP" && stopped_at_us_ == 0) stopped_at_us_ = event->qemu_time_us;
    if (event->name == "RESUME") {
      resumed_ = true;
      if (stopped_at_us_ != 0 && event->qemu_time_us > stopped_at_us_)
        info_.stop_us = static_cast<uint64_t>(event->qemu_time_us - stopped_at_us_);
    }
  } else if (!qmp_->is_connected()) {
    return make_error(Code::kUnavailable, "QEMU does not answer any more");
  }
  if (const auto now = read_ram_status(helper_->status_path)) status = *now;
  run_.progress(status.pages_seen * kPageBytes, status.pages_total * kPageBytes);
  return {};
}

// Whether the guest stands still because this QEMU does not resume it.
bool MemorySave::waits_for_us(uint64_t since_first_page_us) const {
  const bool left_to_us = qemu_major() >= kFirstMajorLeftToUs;
  return live_ && !resumed_ &&
         since_first_page_us > (left_to_us ? kEventPatienceUs : kResumePatienceUs);
}

// After the end of the save.
Status MemorySave::let_run() {
  if (!was_up_ || suspends_) return {};
  if (!live_) HOZON_TRY(continue_after_save(*qmp_, kStopMs));
  // The RESUME may be waiting in the queue still.
  RamStatus ignored;
  for (int i = 0; !resumed_ && i < 20; ++i) {
    HOZON_TRY(listen(ignored));
    // A save so short that its first page was not seen before its end.
    if (i == 1 && waits_for_us(UINT64_MAX)) HOZON_TRY(qmp_->call("cont", json::object(), kStopMs));
  }
  return {};
}

Status MemorySave::follow() {
  run_.step("saving memory");
  RamStatus status;
  uint64_t last_bytes = 0;
  uint64_t last_progress_us = monotonic_us();
  uint64_t first_page_us = 0;
  for (;;) {
    HOZON_TRY(listen(status, live_ && !resumed_ ? kWatchMs : kListenMs));
    const uint64_t now = monotonic_us();
    if (status.stream_bytes != last_bytes) {
      last_bytes = status.stream_bytes;
      last_progress_us = now;
    }
    if (first_page_us == 0 && status.first_page_ns != 0) first_page_us = now;
    if (first_page_us != 0 && waits_for_us(now - first_page_us)) {
      HOZON_TRY(qmp_->call("cont"));
      first_page_us = now;
    }
    HOZON_TRY(keep_going());
    // QEMU may be waiting for a disk, and answers later; then keep_going() decides.
    const auto state = migration_status(*qmp_, kAnswerMs);
    if (state && !is_saving(*state) && *state != "none" && !state->empty())
      return take_verdict(*state);
    if (!state && (state.error().code != Code::kUnavailable || !qmp_->is_connected()))
      return std::unexpected(state.error());
    if (now - last_progress_us > kSilenceUs)
      return make_error(Code::kUnavailable, "the save of machine '{}' makes no progress",
                        machine_.name);
  }
}

// QEMU has sent everything; the rest of it is being stored. The helper's own patience with a silent
// pool bounds this.
Result<RamStatus> MemorySave::wait_stored() {
  run_.step("storing memory");
  for (;;) {
    const auto verdict = wait_ram_helper(*helper_, kVerdictSliceMs);
    if (verdict || verdict.error().code != Code::kUnavailable) return verdict;
    HOZON_TRY(keep_going());
  }
}

void MemorySave::note_result(const RamStatus& verdict) {
  info_.stream_bytes = verdict.stream_bytes;
  info_.written_bytes = verdict.pages_written * kPageBytes + verdict.thin_bytes;
  info_.zero_pages = verdict.pages_zero;
  info_.unchanged_pages = verdict.pages_seen - verdict.pages_zero - verdict.pages_written;
  info_.duration_us = monotonic_us() - started_us_;
}

Status MemorySave::take_verdict(const std::string& end) {
  if (end != "completed")
    return make_error(Code::kIo, "QEMU could not save the memory of machine '{}' ({})",
                      machine_.name, end);
  HOZON_TRY(let_run());
  const RamStatus verdict = HOZON_TRY(wait_stored());
  if (verdict.phase != RamPhase::kDone)
    return add_context(verdict.error, "the memory could not be stored");
  if (live_) HOZON_TRY(set_capabilities(*qmp_, false));
  note_result(verdict);
  HOZON_TRY(memory_volume_.keep(row_.uuid));
  (void)helper_->process.wait_end(kHelperEndMs);  // its last words go into the status file
  core_.remove_helper_files(machine_.uuid, helper_name_);
  if (live_) join_pages();
  return {};
}

Status MemorySave::run() {
  HOZON_TRY(prepare());
  Status saved = cut();
  if (saved) saved = follow();
  // Whatever it was that the save stumbled over: this is why.
  if (!saved && core_.guests.wait_down(machine_.uuid, kNoticedMs))
    return make_error(Code::kIo, "QEMU of machine '{}' ended during the save", machine_.name);
  return saved;
}

}  // namespace

Status Core::save_memory(JobRun& run, const MachineRow& machine, SnapshotRow& row) {
  const PowerState state = guests.state(machine.uuid).state;
  if (state != PowerState::kUp && state != PowerState::kPaused)
    return make_error(Code::kWrongState, "machine '{}' is {}, so it has no memory to save",
                      machine.name, power_state_name(state));
  HOZON_TRY(run.journal("snapshot.forget", {{"snapshot", row.uuid}}));
  HOZON_TRY(inventory.insert_snapshot(row));
  MemorySave save(*this, run, machine, row);
  HOZON_TRY(save.run());
  row.memory = to_json(save.info());
  row.environment = save.environment();
  row.status = "ok";
  return {};
}

Result<json> Core::do_memory_snapshot(JobRun& run, const MachineRow& machine, SnapshotRow row) {
  HOZON_TRY(save_memory(run, machine, row));
  row.environment["guest"] = ask_guest_facts(*this, machine);
  const auto record = [&]() -> Status {
    HOZON_TRY(inventory.update_snapshot(row));
    return inventory.set_current_parent(machine.uuid, row.uuid);
  };
  HOZON_TRY(run.commit(record));
  (void)guests.settle(machine.uuid);
  return snapshot_json(machine.uuid, row.uuid);
}

}  // namespace hozon::control
