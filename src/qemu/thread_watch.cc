#include "qemu/thread_watch.h"

#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <map>
#include <string>

#include "base/result.h"
#include "qemu/files.h"

namespace hozon {
namespace {

constexpr unsigned kLookEveryUs = 1000;
constexpr int kQuietLooks = 3;

std::string place_of(pid_t process) { return fmt::format("/proc/{}/task", process); }

std::set<pid_t> threads_of(pid_t process) {
  std::set<pid_t> threads;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(place_of(process), error)) {
    const std::string name = entry.path().filename();
    pid_t number = 0;
    std::from_chars(name.data(), name.data() + name.size(), number);
    threads.insert(number);
  }
  return threads;
}

// What the kernel counts for a thread (time on a processor, time waiting for one, times it ran),
// when it sleeps; empty when it runs, wants to, or is gone.
std::string count_of_sleeper(const std::string& thread) {
  const auto stat = read_small_file(thread + "/stat");
  const size_t name_end = stat ? stat->rfind(')') : std::string::npos;
  if (name_end == std::string::npos || stat->compare(name_end, 3, ") S") != 0) return "";
  return read_small_file(thread + "/schedstat").value_or("");
}

}  // namespace

NewThreads::NewThreads(pid_t process) : process_(process), known_(threads_of(process)) {}

bool NewThreads::wait_at_rest(int timeout_ms) const {
  std::map<pid_t, std::string> before;
  int quiet_looks = 0;
  const uint64_t deadline = monotonic_ns() + static_cast<uint64_t>(timeout_ms) * 1'000'000;
  do {
    std::map<pid_t, std::string> now;
    bool all_sleep = true;
    for (const pid_t thread : threads_of(process_)) {
      if (known_.contains(thread)) continue;
      now[thread] = count_of_sleeper(fmt::format("{}/{}", place_of(process_), thread));
      all_sleep = all_sleep && !now[thread].empty();
    }
    quiet_looks = all_sleep && !now.empty() && now == before ? quiet_looks + 1 : 0;
    if (quiet_looks == kQuietLooks) return true;
    before = std::move(now);
    ::usleep(kLookEveryUs);
  } while (monotonic_ns() < deadline);
  return false;
}

}  // namespace hozon
