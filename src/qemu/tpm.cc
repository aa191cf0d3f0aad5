#include "qemu/tpm.h"

#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <vector>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "qemu/files.h"
#include "qemu/nbd_volume.h"
#include "qemu/process.h"

namespace hozon {
namespace {

namespace fs = std::filesystem;

constexpr std::array<uint8_t, 8> kMagic = {'H', 'O', 'Z', 'O', 'N', 'T', 'P', 'M'};
constexpr uint32_t kVersion = 1;
constexpr int kPatienceMs = 20'000;
constexpr int kStartMs = 20'000;
constexpr int kPollMs = 5;
constexpr const char* kDirectory = "/tpm";
constexpr const char* kStateFile = "/tpm/tpm2-00.permall";
constexpr const char* kPidFile = "tpm.pid";
constexpr const char* kMark = "type=unixio,path=tpm.sock";

std::span<const std::byte> bytes_of_text(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

TpmHeader header_of(const std::string& state) {
  TpmHeader header{};
  header.magic = kMagic;
  header.version = kVersion;
  header.state_bytes = state.size();
  header.state_crc32c = crc32c(bytes_of_text(state));
  header.header_crc32c = crc32c(bytes_of(header));
  return header;
}

Result<std::string> load_from(NbdVolume& volume) {
  TpmHeader header{};
  HOZON_TRY(volume.read(0, writable_bytes_of(header)));
  TpmHeader plain = header;
  plain.header_crc32c = 0;
  const TpmHeader nothing{};
  if (std::memcmp(&header, &nothing, sizeof(header)) == 0) return std::string();
  if (header.magic != kMagic || header.header_crc32c != crc32c(bytes_of(plain)) ||
      header.state_bytes > kTpmStateBytesMax)
    return make_error(Code::kCorruption, "the header of the kept TPM state is damaged");
  if (header.version != kVersion)
    return make_error(Code::kUnimplemented,
                      "the kept TPM state has version {}; this program reads version {}",
                      uint32_t{header.version}, kVersion);
  std::string state(header.state_bytes, '\0');
  HOZON_TRY(
      volume.read(kTpmHeaderBytes, std::as_writable_bytes(std::span(state.data(), state.size()))));
  if (header.state_crc32c != crc32c(bytes_of_text(state)))
    return make_error(Code::kCorruption, "the kept TPM state is damaged");
  return state;
}

}  // namespace

std::string read_tpm_state(const std::string& machine_directory) {
  return read_small_file(machine_directory + kStateFile).value_or("");
}

bool has_tpm_directory(const std::string& machine_directory) {
  std::error_code ignored;
  return fs::exists(machine_directory + kDirectory, ignored);
}

Status write_tpm_state(const std::string& machine_directory, const std::string& state) {
  std::error_code error;
  const std::string place = machine_directory + kDirectory;
  const std::string draft = place + ".new";
  fs::remove_all(draft, error);
  fs::create_directories(draft, error);
  if (error) return errno_error(error.value(), "make '{}'", draft);
  fs::permissions(draft, fs::perms::owner_all, error);
  if (!state.empty()) HOZON_TRY(replace_file(draft + "/tpm2-00.permall", state));
  HOZON_TRY(remove_tpm_state(machine_directory));
  fs::rename(draft, place, error);
  if (error) return errno_error(error.value(), "make '{}'", place);
  return {};
}

Status remove_tpm_state(const std::string& machine_directory) {
  std::error_code error;
  fs::remove_all(machine_directory + kDirectory, error);
  if (error) return errno_error(error.value(), "remove '{}{}'", machine_directory, kDirectory);
  return {};
}

Result<std::string> load_tpm_state(const std::string& uri) {
  const auto volume = HOZON_TRY(NbdVolume::open(uri, kPatienceMs));
  return load_from(*volume);
}

Status store_tpm_state(const std::string& uri, const std::string& state) {
  if (state.size() > kTpmStateBytesMax)
    return make_error(Code::kResourceExhausted, "the TPM's state has {}, and {} are kept",
                      format_bytes(state.size()), format_bytes(kTpmStateBytesMax));
  const auto volume = HOZON_TRY(NbdVolume::open(uri, kPatienceMs));
  const auto kept = load_from(*volume);
  if (kept && *kept == state) return {};
  // The state first: a header is written as a whole, and then stands for what is there.
  HOZON_TRY(volume->zero(0, kTpmHeaderBytes));
  HOZON_TRY(volume->flush());
  if (!state.empty()) HOZON_TRY(volume->write(kTpmHeaderBytes, bytes_of_text(state)));
  HOZON_TRY(volume->flush());
  HOZON_TRY(volume->write(0, bytes_of(header_of(state))));
  return volume->flush();
}

Status start_tpm(const std::string& machine_directory) {
  // One that its QEMU left behind.
  if (const auto old = DetachedProcess::adopt(machine_directory, kPidFile, kMark))
    HOZON_TRY(old->kill());
  const std::string socket = machine_directory + "/" + kTpmSocket;
  ::unlink(socket.c_str());
  LaunchRequest launch;
  launch.argv = {"swtpm",  "socket", "--tpm2",  "--tpmstate",    "dir=tpm",
                 "--ctrl", kMark,    "--flags", "startup-clear", "--terminate"};
  launch.directory = machine_directory;
  launch.log_file = "tpm.log";
  launch.pid_file = kPidFile;
  launch.mark = kMark;
  const auto started = DetachedProcess::launch(launch);
  if (!started && started.error().code == Code::kNotFound)
    return make_error(Code::kNotFound,
                      "the TPM needs the program swtpm, which is not there: install its package");
  if (!started) return std::unexpected(started.error());
  for (int waited_ms = 0; waited_ms < kStartMs; waited_ms += kPollMs) {
    if (::access(socket.c_str(), F_OK) == 0) return {};
    if (started->wait_end(kPollMs)) break;
  }
  return make_error(Code::kIo, "swtpm did not start: {}",
                    last_words(machine_directory + "/tpm.log"));
}

}  // namespace hozon
