// src/qemu/freeze.h
// Freezing a guest's file systems for the moment of a snapshot, by the helper program hozon-freeze.
//
// A guest that stays frozen is as good as dead, so the helper is a process of its own that outlives
// whoever asked for the freeze: it thaws when it is told to, when the asker is gone (its end of a
// pipe closes), and at the latest when the time is over; and it goes on trying until the guest says
// that it is thawed, or for kThawPatienceMs. It is the only one that speaks with the agent
// meanwhile.
//
//   hozon-freeze --agent SOCKET --status FILE --hold-ms N [--answer-ms N] [--lifeline-fd N]
//                [--name X]
// Exit status: 0 thawed as asked, 1 otherwise (the status file says how), 2 wrong arguments.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "qemu/process.h"

namespace hozon {

constexpr int kFreezeHoldMs = 10'000;
constexpr int kFreezeHoldMsMax = 600'000;
constexpr int kFreezeAnswerMs = 3000;
constexpr int kThawPatienceMs = 600'000;
constexpr int kThawAnswerMs = 60'000;

struct FreezeRequest {
  std::string program = "hozon-freeze";
  std::string directory;  // the machine's; the agent's socket is in it
  std::string name;       // of the helper: <name>.{json,log,pid} in `directory`; its adopt() mark
  int hold_ms = kFreezeHoldMs;
  int answer_ms = kFreezeAnswerMs;  // how long the agent may take to say that it is there
  bool follows_caller = true;       // thaws when this process ends
};

enum class FreezePhase { kFreezing, kFrozen, kThawed, kFailed };

// Content of the status file.
struct FreezeStatus {
  FreezePhase phase = FreezePhase::kFreezing;
  uint64_t filesystems = 0;
  uint64_t frozen_ms = 0;  // kThawed: how long
  bool was_asked = false;  // kThawed: because it was told to; else on its own
  Error error;             // kFailed
};
std::string encode_freeze_status(const FreezeStatus& status);
Result<FreezeStatus> decode_freeze_status(const std::string& text);

struct Freeze {
  DetachedProcess process;
  std::string status_path;
  Fd lifeline;  // closing it thaws
  uint64_t filesystems = 0;
};

// Returns when the guest is frozen. Errors are those of GuestAgent; then nothing is frozen, or the
// helper is about to thaw it.
Result<Freeze> freeze_guest(const FreezeRequest& request);
// Tells the helper of that name to thaw, and waits for it. kNotFound: none runs.
Result<FreezeStatus> thaw_guest(const std::string& directory, const std::string& name);

int run_freeze_helper(const std::vector<std::string>& arguments);

}  // namespace hozon
