#include "vm_machine.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <thread>

#include "qemu/files.h"
#include "qemu/qemu_binary.h"

extern char** environ;

namespace hozon {
namespace {

constexpr uint64_t kMemoryBytes = 256_MiB;
constexpr int kStartMs = 20'000;

void sleep_ms(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

Result<Fd> connect_socket(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path))
    return make_error(Code::kInvalidArgument, "socket path '{}' is too long", path);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0)
    return errno_error(errno, "connect to '{}'", path);
  return socket;
}

}  // namespace

NbdServer::NbdServer(const std::string& socket, const std::vector<std::string>& arguments)
    : socket_(socket) {
  std::filesystem::remove(socket_);
  std::vector<std::string> all = {"nbdkit", "-f", "-U", socket_};
  all.insert(all.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& argument : all) argv.push_back(argument.data());
  argv.push_back(nullptr);
  if (::posix_spawnp(&pid_, "nbdkit", nullptr, nullptr, argv.data(), environ) != 0) pid_ = -1;
  for (int i = 0; i < 500 && !connect_socket(socket_); ++i) sleep_ms(10);
}

void NbdServer::stop() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGCONT);
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void NbdServer::signal(int number) const {
  if (pid_ > 0) ::kill(pid_, number);
}

VmMachine::VmMachine(const std::string& directory_path, const NbdServer& disk)
    : directory(directory_path) {
  std::filesystem::create_directories(directory);
  const auto binary = inspect_qemu();
  spec.uuid = new_uuid();
  spec.name = "vm-test";
  spec.memory_bytes = kMemoryBytes;
  spec.machine_type = binary ? binary->machine_type : "";
  spec.cpu_model = "qemu64";
  DiskSpec vda;
  vda.id = "vda";
  vda.nbd_socket = disk.socket();
  vda.nbd_export = "disk";  // nbdkit serves the same disk under every name
  spec.disks = {vda};
  spec.nics = {{.id = "net0", .mac = "52:54:00:00:00:01"}};
  spec.kernel = HOZON_GUEST_DIR "/vmlinuz";
  spec.initrd = HOZON_GUEST_DIR "/initrd";
  spec.append = "console=ttyS0 quiet panic=-1";
  spec.vmgenid = "auto";
}

VmMachine::~VmMachine() { kill(); }

Status VmMachine::start(StartMode mode, int incoming) {
  LaunchRequest request;
  request.argv = HOZON_TRY(build_command_line(spec, mode, "qemu-system-x86_64"));
  request.directory = directory;
  request.log_file = kQemuLog;
  request.pid_file = kQemuPidFile;
  request.mark = spec.uuid;
  if (incoming >= 0) request.fds = {{incoming, kIncomingFd}};
  process = HOZON_TRY(DetachedProcess::launch(request));
  auto client = QmpClient::connect(directory + "/" + kQmpSocket, kStartMs);
  if (!client && process->wait_end(1000))
    return make_error(Code::kIo, "QEMU ended: {}", last_words(directory + "/" + kQemuLog));
  if (!client) return std::unexpected(client.error());
  qmp = std::move(*client);
  return {};
}

Status VmMachine::boot() {
  if (Status started = start(StartMode::kRun); !started) return started;
  return wait_shell();
}

Status VmMachine::wait_shell(int timeout_ms) {
  const uint64_t deadline = monotonic_ns() + static_cast<uint64_t>(timeout_ms) * 1'000'000;
  while (monotonic_ns() < deadline) {
    const auto text = read_small_file(directory + "/" + kSerialLog);
    if (text && text->find("hozon-guest#") != std::string::npos) return {};
    if (!process->is_running())
      return make_error(Code::kIo, "QEMU ended: {}", last_words(directory + "/" + kQemuLog));
    sleep_ms(20);
  }
  return make_error(Code::kUnavailable, "no shell in the guest: {}",
                    last_words(directory + "/" + kSerialLog));
}

Result<std::string> VmMachine::run(const std::string& command, int timeout_ms) {
  const Fd console = HOZON_TRY(connect_socket(directory + "/" + kSerialSocket));
  const std::string mark = fmt::format("M{}x{}", ::getpid(), ++serial_);
  // The echo of what we type does not look like the marks: they are put together by the shell.
  const std::string typed = fmt::format("\x15 echo @'{0}'@; {1}; echo @'{0}'@@\n", mark, command);
  if (::send(console.get(), typed.data(), typed.size(), MSG_NOSIGNAL) < 0)
    return errno_error(errno, "console");
  const std::string begin = "@" + mark + "@";
  const std::string end = begin + "@";
  std::string heard;
  const uint64_t deadline = monotonic_ns() + static_cast<uint64_t>(timeout_ms) * 1'000'000;
  while (monotonic_ns() < deadline) {
    pollfd waiting{console.get(), POLLIN, 0};
    if (::poll(&waiting, 1, 50) != 1) continue;
    char part[4096];
    const ssize_t got = ::recv(console.get(), part, sizeof(part), 0);
    if (got <= 0) break;
    for (ssize_t i = 0; i < got; ++i)
      if (part[i] != '\r') heard += part[i];
    const size_t last = heard.find(end);
    const size_t first = heard.find(begin + "\n");
    if (last == std::string::npos || first == std::string::npos) continue;
    std::string said = heard.substr(first + begin.size() + 1, last - first - begin.size() - 1);
    if (!said.empty() && said.back() == '\n') said.pop_back();
    return said;
  }
  return make_error(Code::kUnavailable, "the guest does not answer '{}': {}", command, heard);
}

Result<VmMachine::Count> VmMachine::count() {
  const std::string text = HOZON_TRY(run("cat /run/counter"));
  Count result;
  const size_t blank = text.find(" token ");
  if (blank == std::string::npos) return make_error(Code::kIo, "no counter: '{}'", text);
  result.number = std::stoull(text.substr(0, blank));
  result.token = text.substr(blank + 7);
  return result;
}

void VmMachine::kill() {
  qmp.reset();
  if (process) (void)process->kill();
  process.reset();
}

VmTest::VmTest() {
  std::string pattern = testing::TempDir() + "hozon-vm-XXXXXX";
  directory_ = ::mkdtemp(pattern.data());
}

VmTest::~VmTest() {
  if (HasFailure())
    fmt::print(stderr, "left for a look: {}\n", directory_);
  else
    std::filesystem::remove_all(directory_);
}

std::unique_ptr<NbdServer> VmTest::serve_disk(const std::string& image) {
  if (!std::filesystem::exists(path(image)))
    std::filesystem::copy_file(HOZON_GUEST_DIR "/disk.img", path(image));
  return std::make_unique<NbdServer>(path(image + ".nbd"),
                                     std::vector<std::string>{"file", path(image)});
}

std::unique_ptr<NbdServer> VmTest::serve_memory(const std::vector<std::string>& filters) {
  std::vector<std::string> arguments;
  for (const std::string& word : filters)
    if (word.starts_with("--")) arguments.push_back(word);
  arguments.push_back("memory");
  arguments.push_back(std::to_string(memory_volume_bytes(kMemoryBytes)));
  for (const std::string& word : filters)
    if (!word.starts_with("--")) arguments.push_back(word);
  return std::make_unique<NbdServer>(path("memory.nbd"), arguments);
}

RamHelperRequest ram_request(const VmMachine& machine, const std::string& name,
                             const std::string& uri) {
  RamHelperRequest request;
  request.program = HOZON_RAM_PROGRAM;
  request.directory = machine.directory;
  request.name = name;
  request.uri = uri;
  request.ram_bytes = machine.spec.memory_bytes;
  return request;
}

Status begin_save(VmMachine& machine, RamHelper& helper, bool live) {
  const nlohmann::json capabilities = {{{"capability", "events"}, {"state", true}},
                                       {{"capability", "background-snapshot"}, {"state", live}}};
  HOZON_TRY(machine.qmp->call("migrate-set-capabilities", {{"capabilities", capabilities}}));
  HOZON_TRY(machine.qmp->call("migrate-set-parameters", {{"max-bandwidth", 20'000'000'000}}));
  if (Status sent = machine.qmp->send_fd("mig", helper.stream.get()); !sent) return sent;
  HOZON_TRY(machine.qmp->call("migrate", {{"uri", "fd:mig"}}));
  helper.stream = Fd();
  return {};
}

Result<SaveOutcome> end_save(VmMachine& machine, const RamHelper& helper, uint64_t first_event) {
  SaveOutcome outcome;
  for (uint64_t after = first_event;;) {
    const QmpEvent event = HOZON_TRY(machine.qmp->wait_event({"MIGRATION"}, after, 60'000));
    after = event.number;
    outcome.qemu_status = event.data.value("status", "");
    if (outcome.qemu_status == "completed" || outcome.qemu_status == "failed") break;
  }
  int64_t stop_us = 0;
  for (const QmpEvent& event : machine.qmp->events_after(first_event)) {
    if (event.name == "STOP" && stop_us == 0) stop_us = event.qemu_time_us;
    if (event.name == "RESUME" && outcome.stopped_ms == 0)
      outcome.stopped_ms = static_cast<double>(event.qemu_time_us - stop_us) / 1000;
  }
  outcome.status = HOZON_TRY(wait_ram_helper(helper, 60'000));
  return outcome;
}

Status load_memory(VmMachine& machine, const std::string& name, const std::string& uri) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error(errno, "pipe");
  Fd read_end(ends[0]);
  Fd write_end(ends[1]);
  if (Status started = machine.start(StartMode::kIncoming, read_end.get()); !started)
    return started;
  read_end = Fd();
  const RamHelper helper =
      HOZON_TRY(start_ram_load(ram_request(machine, name, uri), write_end.get()));
  write_end = Fd();
  const RamStatus status = HOZON_TRY(wait_ram_helper(helper, 60'000));
  if (status.phase != RamPhase::kDone) return std::unexpected(status.error);
  for (int i = 0; i < 1000; ++i) {
    const auto state = HOZON_TRY(machine.qmp->call("query-status"));
    if (state.value("status", "") != "inmigrate") return {};
    sleep_ms(10);
  }
  return make_error(Code::kUnavailable, "QEMU is still loading");
}

}  // namespace hozon
