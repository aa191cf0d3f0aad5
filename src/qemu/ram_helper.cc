#include "qemu/ram_helper.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <condition_variable>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/log.h"
#include "qemu/files.h"
#include "qemu/ram_serve.h"
#include "qemu/ram_store.h"
#include "qemu/stream_buffer.h"

namespace hozon {
namespace {

using Json = nlohmann::json;

constexpr auto kReportEvery = std::chrono::milliseconds(100);
// Until the first page has been seen somebody may wait for exactly that, with the guest stopped.
constexpr auto kLookEvery = std::chrono::milliseconds(2);
constexpr int kUsage = 2;
constexpr size_t kArgumentsMax = 24;

struct Options {
  std::string verb;
  int stream_fd = -1;
  int gate_fd = -1;
  uint64_t filler_bytes = 0;
  std::string uri;
  uint64_t ram_bytes = 0;
  std::string status_path;
  std::string spill_directory = "/tmp";
  std::string mount;
  int fuse_fd = -1;
  int slots_fd = -1;
  RamPages pages = RamPages::kInStream;
  int patience_ms = kNbdPatienceMs;
};

constexpr std::pair<RamPhase, const char*> kPhases[] = {{RamPhase::kStarting, "starting"},
                                                        {RamPhase::kReady, "ready"},
                                                        {RamPhase::kRunning, "running"},
                                                        {RamPhase::kDone, "done"},
                                                        {RamPhase::kFailed, "failed"}};

Result<uint64_t> parse_number(const std::string& name, const std::string& text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value > (1ULL << 50))
    return make_error(Code::kInvalidArgument, "hozon-ram: {} '{}' is not a number", name, text);
  return value;
}

Result<Options> parse_options(const std::vector<std::string>& arguments) {
  if (arguments.empty())
    return make_error(Code::kInvalidArgument, "hozon-ram: save, load, serve or info?");
  Options options;
  options.verb = arguments[0];
  constexpr std::string_view kVerbs[] = {"save", "load", "serve", "drain", "info"};
  if (std::ranges::find(kVerbs, options.verb) == std::end(kVerbs))
    return make_error(Code::kInvalidArgument,
                      "hozon-ram: '{}' is not save, load, serve, drain or info", options.verb);
  for (size_t i = 1; i < arguments.size(); i += 2) {
    const std::string& name = arguments[i];
    if (i + 1 == arguments.size())
      return make_error(Code::kInvalidArgument, "hozon-ram: {} needs a value", name);
    const std::string& value = arguments[i + 1];
    if (name == "--uri")
      options.uri = value;
    else if (name == "--status")
      options.status_path = value;
    else if (name == "--spill-dir")
      options.spill_directory = value;
    else if (name == "--stream-fd")
      options.stream_fd = static_cast<int>(HOZON_TRY(parse_number(name, value)));
    else if (name == "--gate-fd")
      options.gate_fd = static_cast<int>(HOZON_TRY(parse_number(name, value)));
    else if (name == "--filler-bytes")
      options.filler_bytes = HOZON_TRY(parse_number(name, value));
    else if (name == "--ram-bytes")
      options.ram_bytes = HOZON_TRY(parse_number(name, value));
    else if (name == "--patience-ms")
      options.patience_ms = static_cast<int>(HOZON_TRY(parse_number(name, value)));
    else if (name == "--mount")
      options.mount = value;
    else if (name == "--pages")
      options.pages = value == "mapped" ? RamPages::kMapped : RamPages::kInStream;
    else if (name == "--fuse-fd")
      options.fuse_fd = static_cast<int>(HOZON_TRY(parse_number(name, value)));
    else if (name == "--slots-fd")
      options.slots_fd = static_cast<int>(HOZON_TRY(parse_number(name, value)));
    else if (name != "--name")  // only a mark on the command line
      return make_error(Code::kInvalidArgument, "hozon-ram: option '{}' is not known", name);
  }
  if (options.uri.empty()) return make_error(Code::kInvalidArgument, "hozon-ram: --uri is missing");
  if (options.ram_bytes == 0 || options.ram_bytes % kPageBytes != 0)
    return make_error(Code::kInvalidArgument, "hozon-ram: --ram-bytes must be a multiple of {}",
                      kPageBytes);
  if (options.verb == "info") return options;
  if (options.status_path.empty())
    return make_error(Code::kInvalidArgument, "hozon-ram: --status is missing");
  if (options.verb == "serve") {
    if (options.mount.empty())
      return make_error(Code::kInvalidArgument, "hozon-ram: --mount is missing");
    return options;
  }
  if (options.stream_fd < 3 || ::fcntl(options.stream_fd, F_GETFD) < 0)
    return make_error(Code::kInvalidArgument, "hozon-ram: --stream-fd names no open descriptor");
  return options;
}

// Writes the status file at every change of phase and every kReportEvery.
class Reporter {
 public:
  Reporter(std::string path, uint64_t ram_bytes, const RamProgress& progress)
      : path_(std::move(path)), progress_(progress) {
    status_.pages_total = ram_bytes / kPageBytes;
    write();
    thread_ = std::thread([this] { run(); });
  }
  ~Reporter() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
    write();
  }
  void watch(const StreamBuffer* buffer) {
    const std::lock_guard lock(mutex_);
    buffer_ = buffer;
  }
  void phase(RamPhase phase, Error error = {}) {
    {
      const std::lock_guard lock(mutex_);
      status_.phase = phase;
      status_.error = std::move(error);
    }
    write();
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    auto reported = std::chrono::steady_clock::now();
    for (;;) {
      const bool looks = buffer_ != nullptr && !has_told_first_page_;
      if (changed_.wait_for(lock, looks ? kLookEvery : kReportEvery, [&] { return stopping_; }))
        return;
      const auto now = std::chrono::steady_clock::now();
      const bool first_page = looks && progress_.first_page_ns != 0;
      if (!first_page && now - reported < kReportEvery) continue;
      has_told_first_page_ = has_told_first_page_ || first_page;
      reported = now;
      const bool first_bytes =
          status_.phase == RamPhase::kReady && buffer_ != nullptr && buffer_->received_bytes() > 0;
      if (first_bytes) status_.phase = RamPhase::kRunning;
      lock.unlock();
      write();
      lock.lock();
    }
  }
  void write() {
    std::unique_lock lock(mutex_);
    status_.stream_bytes =
        buffer_ != nullptr ? buffer_->received_bytes() : progress_.stream_bytes.load();
    status_.buffered_bytes = buffer_ != nullptr ? buffer_->buffered_bytes() : 0;
    status_.stream_ended = buffer_ != nullptr && buffer_->has_ended();
    status_.pages_seen = progress_.pages_seen;
    status_.pages_zero = progress_.pages_zero;
    status_.pages_written = progress_.pages_written;
    status_.thin_bytes = progress_.thin_bytes;
    status_.first_page_ns = progress_.first_page_ns;
    // Under the lock, so that an older status never replaces a newer one.
    if (const Status written = replace_file(path_, encode_ram_status(status_)); !written)
      log_error("status is not reported: {}", written.error().what);
  }

  const std::string path_;
  const RamProgress& progress_;
  std::mutex mutex_;
  std::condition_variable changed_;
  RamStatus status_;
  const StreamBuffer* buffer_ = nullptr;
  bool stopping_ = false;
  bool has_told_first_page_ = false;
  std::thread thread_;
};

Status save_stream(const Options& options, StreamBuffer& buffer, Reporter& reporter,
                   RamProgress& progress) {
  const auto writer = HOZON_TRY(
      RamImageWriter::open(options.uri, options.ram_bytes, options.patience_ms, progress));
  reporter.phase(RamPhase::kReady);
  const ThinStream thin = HOZON_TRY(split_ram_stream(buffer, *writer, options.ram_bytes));
  return writer->finish(thin);
}

// While a stream is open the guest depends on us: only SIGKILL may end this process.
void ignore_signals() {
  for (const int number : {SIGPIPE, SIGHUP, SIGTERM, SIGINT, SIGQUIT}) ::signal(number, SIG_IGN);
}

// The arguments of this process with the verb `drain`, for the handler of kGiveUpSignal.
std::array<char*, 2 * kArgumentsMax> drain_argv{};

void prepare_drain(const std::vector<std::string>& arguments) {
  static std::vector<std::string> words;
  words = arguments;
  words[0] = "drain";
  words.insert(words.begin(), "hozon-ram");
  for (size_t i = 0; i < words.size() && i + 1 < drain_argv.size(); ++i)
    drain_argv.at(i) = words[i].data();
  // Everything that stores, its connection included, is gone with the exec; the stream, the pid and
  // the name stay. So whoever sent the signal may use the volume for something else.
  ::signal(kGiveUpSignal, [](int) { ::execv("/proc/self/exe", drain_argv.data()); });
}

int drain(const Options& options) {
  ignore_signals();
  RamStatus status;
  status.phase = RamPhase::kFailed;
  status.error = {Code::kCancelled, "the save was given up", 0};
  if (const Status told = replace_file(options.status_path, encode_ram_status(status)); !told)
    log_error("status is not reported: {}", told.error().what);
  std::vector<char> buffer(kNbdRequestBytesMax);
  for (;;) {
    const ssize_t got = ::read(options.stream_fd, buffer.data(), buffer.size());
    if (got == 0 || (got < 0 && errno != EINTR)) return 1;
  }
}

int save(const Options& options, const std::vector<std::string>& arguments) {
  ignore_signals();
  prepare_drain(arguments);
  RamProgress progress;
  StreamBuffer buffer({Fd(options.stream_fd), Fd(options.gate_fd), options.filler_bytes},
                      {.spill_bytes = options.ram_bytes + 2 * kRamTailBytes,
                       .spill_directory = options.spill_directory});
  Reporter reporter(options.status_path, options.ram_bytes, progress);
  reporter.watch(&buffer);
  const Status saved = save_stream(options, buffer, reporter, progress);
  if (saved) {
    reporter.phase(RamPhase::kDone);
    return 0;
  }
  log_error("save failed: {}", saved.error().what);
  reporter.phase(RamPhase::kFailed, saved.error());
  buffer.discard();
  buffer.wait_end();
  return 1;
}

int load(const Options& options) {
  ::signal(SIGPIPE, SIG_IGN);
  const Fd stream(options.stream_fd);
  RamProgress progress;
  Reporter reporter(options.status_path, options.ram_bytes, progress);
  reporter.phase(RamPhase::kRunning);
  const Status loaded = load_ram_image(options.uri, options.ram_bytes, stream.get(),
                                       options.patience_ms, options.pages, progress);
  if (!loaded) {
    log_error("load failed: {}", loaded.error().what);
    // QEMU 7.2 waits for ever on a stream that ends before its first byte; this it refuses at once.
    constexpr std::string_view kNoStream = "no image";
    if (progress.stream_bytes == 0)
      (void)!::write(stream.get(), kNoStream.data(), kNoStream.size());
  }
  reporter.phase(loaded ? RamPhase::kDone : RamPhase::kFailed, loaded ? Error{} : loaded.error());
  return loaded ? 0 : 1;
}

Status print_info(const Options& options) {
  const auto volume = HOZON_TRY(NbdVolume::open(options.uri, options.patience_ms));
  const RamImageInfo info = HOZON_TRY(read_ram_image_info(*volume, options.ram_bytes));
  const Json text = {{"ram_bytes", info.ram_bytes},       {"thin_bytes", info.thin_bytes},
                     {"page_count", info.page_count},     {"thin_crc32c", info.thin_crc32c},
                     {"pages_crc32c", info.pages_crc32c}, {"machine_type", info.machine_type}};
  fmt::print("{}\n", text.dump(2));
  return {};
}

}  // namespace

std::string encode_ram_status(const RamStatus& status) {
  Json json = {{"stream_bytes", status.stream_bytes},     {"pages_seen", status.pages_seen},
               {"pages_total", status.pages_total},       {"pages_zero", status.pages_zero},
               {"pages_written", status.pages_written},   {"thin_bytes", status.thin_bytes},
               {"buffered_bytes", status.buffered_bytes}, {"first_page_ns", status.first_page_ns},
               {"stream_ended", status.stream_ended}};
  for (const auto& [phase, name] : kPhases)
    if (phase == status.phase) json["phase"] = name;
  if (status.phase == RamPhase::kFailed)
    json["error"] = {{"code", code_name(status.error.code)}, {"message", status.error.what}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<RamStatus> decode_ram_status(const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("phase") || !json["phase"].is_string())
    return make_error(Code::kCorruption, "the status file of hozon-ram is not one");
  RamStatus status;
  const auto number = [&](const char* key) -> uint64_t {
    return json.contains(key) && json[key].is_number_unsigned() ? json[key].get<uint64_t>() : 0;
  };
  for (const auto& [phase, name] : kPhases)
    if (json["phase"].get<std::string>() == name) status.phase = phase;
  status.stream_bytes = number("stream_bytes");
  status.pages_seen = number("pages_seen");
  status.pages_total = number("pages_total");
  status.pages_zero = number("pages_zero");
  status.pages_written = number("pages_written");
  status.thin_bytes = number("thin_bytes");
  status.buffered_bytes = number("buffered_bytes");
  status.first_page_ns = number("first_page_ns");
  status.stream_ended = json.contains("stream_ended") && json["stream_ended"] == true;
  if (status.phase == RamPhase::kFailed && json.contains("error") && json["error"].is_object()) {
    status.error.code = code_from_name(json["error"].value("code", "internal"));
    status.error.what = json["error"].value("message", "");
  }
  return status;
}

int run_ram_helper(const std::vector<std::string>& arguments) {
  const Result<Options> options = parse_options(arguments);
  if (!options) {
    fmt::print(stderr, "{}\n", options.error().what);
    return kUsage;
  }
  if (options->verb == "save") return save(*options, arguments);
  if (options->verb == "drain") return drain(*options);
  if (options->verb == "load") return load(*options);
  if (options->verb == "serve")
    return run_ram_serve({.uri = options->uri,
                          .ram_bytes = options->ram_bytes,
                          .status_path = options->status_path,
                          .mount = options->mount,
                          .fuse_fd = options->fuse_fd,
                          .slots_fd = options->slots_fd},
                         arguments);
  const Status printed = print_info(*options);
  if (!printed) fmt::print(stderr, "hozon-ram: {}\n", printed.error().what);
  return printed ? 0 : 1;
}

}  // namespace hozon
