#include "control/qemu_img.h"

#include <algorithm>
#include <charconv>

#include "base/units.h"

namespace hozon::control {
namespace {

constexpr uint64_t kMemory = 4_GiB;

}  // namespace

std::string complaint_of(const ProgramEnd& end) {
  std::string line = last_line(end.errors);
  if (line.starts_with("qemu-img: ")) line.erase(0, 10);
  if (line.empty()) line = fmt::format("qemu-img ended with status {}", end.exit_status);
  return line;
}

Result<std::string> run_qemu_img(std::vector<std::string> argv, uint64_t size_bytes,
                                 const std::function<bool(uint64_t)>& on_progress) {
  // "    (12.34/100%)\r", in pieces of any size.
  std::string tail;
  uint64_t done = 0;
  const auto on_output = [&](std::string_view piece) {
    tail += piece;
    const size_t end = tail.rfind("/100%");
    const size_t open = end == std::string::npos ? end : tail.rfind('(', end);
    double percent = 0;
    if (open != std::string::npos &&
        std::from_chars(tail.data() + open + 1, tail.data() + end, percent).ec == std::errc{})
      done = static_cast<uint64_t>(percent / 100 * static_cast<double>(size_bytes));
    if (tail.size() > 256) tail.erase(0, tail.size() - 64);
    return on_progress(std::min(done, size_bytes));
  };
  const ProgramEnd end = HOZON_TRY(run_program({.argv = std::move(argv),
                                                .address_space_bytes = kMemory,
                                                .cpu_seconds = 0,
                                                .on_output = on_output}));
  return end.exit_status == 0 ? std::string() : complaint_of(end);
}

}  // namespace hozon::control
