#include "qemu/qemu_binary.h"

#include <unistd.h>

#include <cstdlib>
#include <sstream>

#include "qemu/command.h"

namespace hozon {
namespace {

std::string absolute_program(const std::string& name) {
  if (name.find('/') != std::string::npos) return name;
  const char* path = std::getenv("PATH");
  std::istringstream directories(path != nullptr ? path : "/usr/bin:/bin");
  for (std::string directory; std::getline(directories, directory, ':');) {
    std::string candidate = directory + "/" + name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return name;
}

Result<std::string> output_of(const std::string& program, const std::string& option,
                              const std::string& value) {
  CommandRequest request;
  request.argv = {program, option};
  if (!value.empty()) request.argv.push_back(value);
  CommandOutcome outcome = HOZON_TRY(run_command(request));
  if (outcome.exit_status != 0)
    return make_error(Code::kIo, "'{} {} {}' failed: {}", program, option, value,
                      outcome.timed_out ? "no answer in time" : outcome.output);
  return std::move(outcome.output);
}

}  // namespace

Result<QemuBinary> inspect_qemu(const std::string& name) {
  QemuBinary binary;
  binary.path = absolute_program(name);
  // "QEMU emulator version 7.2.22 (Debian ...)"
  const std::string version = HOZON_TRY(output_of(binary.path, "--version", ""));
  constexpr std::string_view kBefore = "version ";
  const size_t at = version.find(kBefore);
  if (at != std::string::npos) {
    const size_t start = at + kBefore.size();
    binary.version = version.substr(start, version.find_first_not_of("0123456789.", start) - start);
  }
  // "q35     Standard PC (Q35 + ICH9, 2009) (alias of pc-q35-7.2)"
  std::istringstream machines(HOZON_TRY(output_of(binary.path, "-machine", "help")));
  for (std::string line; std::getline(machines, line);) {
    constexpr std::string_view kAlias = "(alias of ";
    const size_t alias = line.find(kAlias);
    if (!line.starts_with("q35 ") || alias == std::string::npos) continue;
    const size_t start = alias + kAlias.size();
    binary.machine_type = line.substr(start, line.find(')', start) - start);
  }
  if (binary.version.empty() || binary.machine_type.empty())
    return make_error(Code::kIo, "'{}' does not describe itself as QEMU for x86_64 does",
                      binary.path);
  return binary;
}

}  // namespace hozon
