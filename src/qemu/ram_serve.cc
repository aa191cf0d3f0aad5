#include "qemu/ram_serve.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <thread>

#include "base/log.h"
#include "qemu/files.h"
#include "qemu/fuse_file.h"
#include "qemu/fuse_mount.h"
#include "qemu/nbd_volume.h"
#include "qemu/process.h"
#include "qemu/ram_helper.h"
#include "qemu/ram_image.h"
#include "qemu/ram_store.h"

namespace hozon {
namespace {

namespace fs = std::filesystem;

constexpr size_t kThreads = 4;
constexpr int kPatienceMs = 1 << 30;  // twelve days (I2)
constexpr int kReadyMs = 20'000;
constexpr int kPollMs = 2;
constexpr useconds_t kRestartPauseUs = 50'000;
constexpr uint64_t kQuickDeathNs = 1'000'000'000;
constexpr const char* kName = "serve";

// ---- the requests under way (I1) ----

// A request is there while its first word, the length that the kernel wrote, is not zero.
struct Slot {
  std::array<std::byte, kFuseRequestMax> request;
  bool is_taken() const { return length().load(std::memory_order_acquire) != 0; }
  void clear() { length().store(0, std::memory_order_release); }

 private:
  std::atomic_ref<uint32_t> length() const {
    return std::atomic_ref<uint32_t>(
        *reinterpret_cast<uint32_t*>(const_cast<std::byte*>(request.data())));
  }
};
constexpr size_t kSlotsBytes = kThreads * sizeof(Slot);

Result<Fd> make_slots() {
  Fd memory(::memfd_create("hozon-requests", MFD_CLOEXEC));
  if (!memory || ::ftruncate(memory.get(), kSlotsBytes) != 0)
    return errno_error(errno, "memory for requests");
  return memory;
}

Result<Slot*> map_slots(int fd) {
  void* place = ::mmap(nullptr, kSlotsBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (place == MAP_FAILED) return errno_error(errno, "map the requests");
  return static_cast<Slot*>(place);
}

// ---- the worker ----

// The image, as one thread reads it.
class ImageContent : public FuseContent {
 public:
  explicit ImageContent(const RamServeOptions& options) : options_(options) {}
  uint64_t size_bytes() const override { return options_.ram_bytes; }
  Status read(uint64_t offset, std::span<std::byte> into) override {
    if (!volume_) volume_ = HOZON_TRY(NbdVolume::open(options_.uri, kPatienceMs));
    Status read = volume_->read(offset, into);
    if (!read) volume_.reset();  // its errors are final
    return read;
  }

 private:
  const RamServeOptions& options_;
  std::unique_ptr<NbdVolume> volume_;
};

// False when there is no mount any more.
bool send_answer(int fuse, Slot& slot, FuseContent& content) {
  const std::vector<std::byte> reply = answer_fuse(slot.request, content);
  const bool sent = reply.empty() || ::write(fuse, reply.data(), reply.size()) >= 0;
  const int sys_errno = sent ? 0 : errno;
  slot.clear();
  if (sys_errno == ENODEV) return false;
  // ENOENT: whoever asked is gone, or a process before us has answered it.
  if (!sent && sys_errno != ENOENT)
    log_error("answer to the kernel: {}", errno_to_error(sys_errno, "write").what);
  return true;
}

void serve_requests(int fuse, Slot& slot, const RamServeOptions& options) {
  ImageContent content(options);
  for (;;) {
    if (slot.is_taken() && !send_answer(fuse, slot, content)) break;
    const ssize_t got = ::read(fuse, slot.request.data(), slot.request.size());
    if (got >= 0 || errno == EINTR || errno == EAGAIN || errno == ENOENT) continue;
    if (errno != ENODEV) log_error("{}", errno_to_error(errno, "read requests").what);
    break;
  }
}

// The arguments of this process with the descriptors of the mount, for the handler of kTakeOver.
constexpr int kTakeOver = SIGUSR2;
constexpr size_t kArgumentsMax = 40;
std::array<char*, kArgumentsMax> keeper_argv{};

void prepare_take_over(const std::vector<std::string>& arguments, int fuse, int slots) {
  static std::vector<std::string> words;
  words = {"hozon-ram"};
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--fuse-fd" || arguments[i] == "--slots-fd")
      ++i;
    else
      words.push_back(arguments[i]);
  }
  for (const auto& [name, fd] : {std::pair{"--fuse-fd", fuse}, std::pair{"--slots-fd", slots}}) {
    ::fcntl(fd, F_SETFD, 0);
    words.insert(words.end(), {name, std::to_string(fd)});
  }
  for (size_t i = 0; i < words.size() && i + 1 < keeper_argv.size(); ++i)
    keeper_argv.at(i) = words[i].data();
  ::signal(kTakeOver, [](int) { ::execv("/proc/self/exe", keeper_argv.data()); });
}

[[noreturn]] void work(const RamServeOptions& options, const std::vector<std::string>& arguments,
                       int fuse, int slots_fd, pid_t keeper) {
  prepare_take_over(arguments, fuse, slots_fd);
  ::prctl(PR_SET_PDEATHSIG, kTakeOver);
  if (::getppid() != keeper) ::raise(kTakeOver);
  const auto slots = map_slots(slots_fd);
  if (!slots) ::_exit(1);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < kThreads; ++i)
    threads.emplace_back([&, i] { serve_requests(fuse, (*slots)[i], options); });
  for (std::thread& thread : threads) thread.join();
  ::_exit(0);
}

// ---- the keeper ----

void ignore_signals() {
  for (const int number : {SIGPIPE, SIGHUP, SIGTERM, SIGINT, SIGQUIT}) ::signal(number, SIG_IGN);
  ::signal(kTakeOver, SIG_DFL);
  // Blocked when this program was executed by its handler, and it would stay so.
  sigset_t all{};
  ::sigemptyset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  ::prctl(PR_SET_PDEATHSIG, 0);
}

void report(const RamServeOptions& options, RamPhase phase, const Error& error = {}) {
  RamStatus status;
  status.phase = phase;
  status.error = error;
  status.pages_total = options.ram_bytes / kPageBytes;
  if (const Status told = replace_file(options.status_path, encode_ram_status(status)); !told)
    log_error("status is not reported: {}", told.error().what);
}

struct Mount {
  Fd fuse;
  Fd slots;
};

Result<Mount> make_mount(const RamServeOptions& options) {
  {
    const auto volume = HOZON_TRY(NbdVolume::open(options.uri));
    HOZON_TRY(read_ram_image_info(*volume, options.ram_bytes));
  }
  Fd slots = HOZON_TRY(make_slots());
  return Mount{HOZON_TRY(mount_fuse(options.mount)), std::move(slots)};
}

// Until the mount is gone (I3).
int keep(const RamServeOptions& options, const std::vector<std::string>& arguments,
         const Mount& mount) {
  bool is_reported = options.fuse_fd >= 0;
  for (;;) {
    const pid_t self = ::getpid();
    const uint64_t started_ns = monotonic_ns();
    const pid_t worker = ::fork();
    if (worker == 0) work(options, arguments, mount.fuse.get(), mount.slots.get(), self);
    if (worker > 0 && !is_reported && is_fuse_served(options.mount)) {
      report(options, RamPhase::kReady);
      is_reported = true;
    }
    int status = 0;
    while (worker > 0 && ::waitpid(worker, &status, 0) < 0 && errno == EINTR) {
    }
    if (worker > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0) break;
    log_error("the worker of the memory image ended (status {}); there is a new one", status);
    if (monotonic_ns() - started_ns < kQuickDeathNs) ::usleep(kRestartPauseUs);
  }
  (void)unmount_fuse(options.mount);
  report(options, RamPhase::kDone);
  return 0;
}

}  // namespace

int run_ram_serve(const RamServeOptions& options, const std::vector<std::string>& arguments) {
  ignore_signals();
  if (options.fuse_fd >= 0)
    return keep(options, arguments, {Fd(options.fuse_fd), Fd(options.slots_fd)});
  const auto mount = make_mount(options);
  if (mount) return keep(options, arguments, *mount);
  log_error("serve: {}", mount.error().what);
  report(options, RamPhase::kFailed, mount.error());
  return 1;
}

std::string ram_image_file(const std::string& directory) {
  return directory + "/mount/" + kFuseFileName;
}

bool is_ram_image_served(const std::string& directory) {
  return is_fuse_served(directory + "/mount");
}

Status end_ram_image(const std::string& directory) { return unmount_fuse(directory + "/mount"); }

Result<std::string> serve_ram_image(const RamServeRequest& request) {
  HOZON_TRY(end_ram_image(request.directory));  // of servers that were killed
  std::error_code error;
  fs::create_directories(request.directory + "/mount", error);
  if (error) return errno_error(error.value(), "make '{}/mount'", request.directory);
  const std::string status_path = request.directory + "/" + kName + ".json";
  fs::remove(status_path, error);
  LaunchRequest launch;
  launch.argv = {request.program, "serve",     "--mount",     request.directory + "/mount",
                 "--uri",         request.uri, "--ram-bytes", std::to_string(request.ram_bytes),
                 "--status",      status_path, "--name",      kName};
  launch.directory = request.directory;
  launch.log_file = std::string(kName) + ".log";
  launch.pid_file = std::string(kName) + ".pid";
  launch.mark = kName;
  const DetachedProcess process = HOZON_TRY(DetachedProcess::launch(launch));
  const uint64_t deadline = monotonic_ns() + uint64_t{kReadyMs} * 1'000'000;
  while (monotonic_ns() < deadline) {
    const bool ended = process.wait_end(kPollMs);
    const auto status = read_ram_status(status_path);
    if (status && status->phase == RamPhase::kReady) return ram_image_file(request.directory);
    if (status && status->phase == RamPhase::kFailed) return std::unexpected(status->error);
    if (ended) break;
  }
  return make_error(Code::kUnavailable, "the server of a memory image did not start: {}",
                    last_words(request.directory + "/" + kName + ".log"));
}

}  // namespace hozon
