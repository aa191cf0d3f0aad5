// tests/vm/vm_machine.h
// A guest of the tests: a scratch directory, NBD servers that we did not write (nbdkit), QEMU
// started by the room's own launcher, and a shell on the serial console.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "qemu/process.h"
#include "qemu/qmp.h"
#include "qemu/ram_save.h"
#include "qemu/spec.h"

namespace hozon {

// nbdkit on a unix socket; killed with the object.
class NbdServer {
 public:
  // `arguments`: plugin, its parameters, and --filter options.
  NbdServer(const std::string& socket, const std::vector<std::string>& arguments);
  ~NbdServer() { stop(); }
  NbdServer(const NbdServer&) = delete;
  NbdServer& operator=(const NbdServer&) = delete;
  void stop();  // SIGKILL
  void signal(int number) const;
  const std::string& socket() const { return socket_; }
  std::string uri() const { return "nbd+unix:///?socket=" + socket_; }

 private:
  std::string socket_;
  pid_t pid_ = -1;
};

class VmMachine {
 public:
  VmMachine(const std::string& directory, const NbdServer& disk);
  ~VmMachine();
  VmMachine(const VmMachine&) = delete;
  VmMachine& operator=(const VmMachine&) = delete;

  Status start(StartMode mode, int incoming = -1);
  Status boot();  // start, and wait for the shell
  Status wait_shell(int timeout_ms = 30'000);
  // What the command printed on the console, without the last newline.
  Result<std::string> run(const std::string& command, int timeout_ms = 10'000);
  // First number of the counter's state, and its token.
  struct Count {
    uint64_t number = 0;
    std::string token;
  };
  Result<Count> count();
  void kill();

  MachineSpec spec;
  std::string directory;
  std::optional<DetachedProcess> process;
  std::unique_ptr<QmpClient> qmp;

 private:
  unsigned serial_ = 0;
};

// A scratch directory per test, with a disk and a booted machine on request.
class VmTest : public testing::Test {
 protected:
  VmTest();
  ~VmTest() override;
  // nbdkit with a copy of the guest's data disk.
  std::unique_ptr<NbdServer> serve_disk(const std::string& image);
  std::unique_ptr<NbdServer> serve_memory(const std::vector<std::string>& filters = {});
  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  std::string directory_;
};

// The steps of a live save as ram_save.h lists them; `at_stop` runs while the guest stands still.
struct SaveOutcome {
  RamStatus status;
  std::string qemu_status;  // "completed", "failed"
  double stopped_ms = 0;    // between STOP and RESUME, by QEMU's clock
};
Status begin_save(VmMachine& machine, RamHelper& helper, bool live = true);
Result<SaveOutcome> end_save(VmMachine& machine, const RamHelper& helper, uint64_t first_event);
RamHelperRequest ram_request(const VmMachine& machine, const std::string& name,
                             const std::string& uri);
// A fresh QEMU with the machine's specification takes the memory; it stands still afterwards.
Status load_memory(VmMachine& machine, const std::string& name, const std::string& uri);

}  // namespace hozon
