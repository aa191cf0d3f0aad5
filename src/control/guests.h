// src/control/guests.h
// The running QEMUs: starts them, finds them again, follows their power states, ends them.
//
// One thread per running machine listens to its QMP events and to the end of its process, so a
// state is true within milliseconds of the fact, whoever caused it.
// Invariants
//   G1  A machine without an entry here is down: no process of it runs.
//   G2  forget-and-die: destroying this object or killing this program leaves every QEMU running.
// Threading: any thread.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "base/result.h"
#include "control/types.h"
#include "qemu/process.h"
#include "qemu/qmp.h"
#include "qemu/spec.h"

namespace hozon::control {

struct GuestState {
  PowerState state = PowerState::kDown;
  std::string reason;  // types.h, Machine::state_reason
  int pid = 0;
  std::string accelerator;
};

// What a job needs of a running machine; stays usable (calls fail) when QEMU ends meanwhile.
struct GuestHandle {
  std::shared_ptr<QmpClient> qmp;
  int pid = 0;
};

class Guests {
 public:
  static constexpr int kStartMs = 90'000;
  static constexpr int kQuitMs = 15'000;

  // Called whenever a machine's state may have changed, under the mutex of this object.
  using Tell = std::function<void(const std::string& uuid, PowerState state)>;
  explicit Guests(
      std::string qemu_binary, Tell tell = [](const std::string&, PowerState) {})
      : qemu_binary_(std::move(qemu_binary)), tell_(std::move(tell)) {}
  ~Guests();

  // Launches QEMU. It is `starting` until settle() says what it has become; kIncoming needs `fd`.
  Status start(const MachineSpec& spec, const std::string& directory, StartMode mode,
               int incoming_fd = -1);
  // Asks QEMU for its state and shows that from now on.
  Status settle(const std::string& uuid);
  // Takes over a QEMU that a former hozond started. kNotFound: none runs.
  Status adopt(const std::string& uuid, const std::string& directory);
  GuestState state(const std::string& uuid) const;
  // kWrongState when it is down.
  Result<GuestHandle> handle(const std::string& uuid) const;
  // Shown as `stopping` from now on, or no longer (the guest did not heed the power button).
  void set_stopping(const std::string& uuid, bool stopping);
  // True when it is down; false after `timeout_ms`.
  bool wait_down(const std::string& uuid, int timeout_ms) const;
  // Ends QEMU: asks first, then kills. `reason` is shown as the machine's state_reason.
  Status end(const std::string& uuid, const std::string& reason);
  // SIGKILL at once.
  Status kill(const std::string& uuid, const std::string& reason);

 private:
  struct Guest {
    Guest(std::string machine, std::string home, DetachedProcess qemu,
          std::unique_ptr<QmpClient> client)
        : uuid(std::move(machine)),
          directory(std::move(home)),
          process(std::move(qemu)),
          qmp(std::move(client)) {
      state.pid = process.pid();
    }
    std::string uuid;
    std::string directory;
    DetachedProcess process;
    std::shared_ptr<QmpClient> qmp;
    GuestState state;
    uint64_t seen_event = 0;
    bool starting = false;
    bool stopping = false;
    std::string end_reason;  // decided by whoever ends it
    std::thread monitor;
  };
  void add(const std::shared_ptr<Guest>& guest);
  void monitor(const std::shared_ptr<Guest>& guest);
  void note_event(const std::shared_ptr<Guest>& guest, const QmpEvent& event);
  void note_end(const std::shared_ptr<Guest>& guest);
  void refresh(const std::shared_ptr<Guest>& guest);
  std::shared_ptr<Guest> find(const std::string& uuid) const;
  std::shared_ptr<QmpClient> qmp_of(const std::shared_ptr<Guest>& guest) const;
  void join_ended();

  void show(Guest& guest, PowerState state);

  std::string qemu_binary_;
  Tell tell_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::map<std::string, std::shared_ptr<Guest>> guests_;
  std::map<std::string, std::string> last_reasons_;  // of machines that went down
  std::vector<std::thread> ended_;
  bool ending_ = false;
};

}  // namespace hozon::control
