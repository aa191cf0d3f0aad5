// tests/sim/shrink.cc
// Steps are dropped in chunks that halve in size (delta debugging). Actors draw from random sources
// of their own, so what is left of a history goes much as before.

#include "shrink.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace hozon::sim {
namespace {

constexpr uint64_t kActorsMost = 8;

class Shrinker {
 public:
  Shrinker(const WorldOptions& options, uint64_t tries_most)
      : tries_most_(tries_most),
        asked_(static_cast<uint64_t*>(::mmap(nullptr, sizeof(uint64_t), PROT_READ | PROT_WRITE,
                                             MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {
    HOZON_CHECK(asked_ != MAP_FAILED);
    best_.options = options;
    best_.options.verbose = false;
  }
  ~Shrinker() { ::munmap(asked_, sizeof(uint64_t)); }
  Shrinker(const Shrinker&) = delete;

  Shrunk run() {
    if (!fails(best_.options)) return best_;
    best_.steps_asked = *asked_;
    for (uint64_t actor = 0; actor < kActorsMost; ++actor) {
      WorldOptions fewer = best_.options;
      fewer.actors_away |= uint64_t{1} << actor;
      keep_if_it_fails(fewer);
    }
    // What comes after the failure does not matter; what comes before it perhaps not either.
    (void)fails(best_.options);
    kept_.assign(*asked_, true);
    for (uint64_t size = (kept_.size() + 1) / 2; size > 0; size = size > 1 ? (size + 1) / 2 : 0)
      for (uint64_t first = 0; first < kept_.size(); first += size) drop_steps(first, size);
    best_.steps_left = static_cast<uint64_t>(std::count(kept_.begin(), kept_.end(), true));
    return best_;
  }

 private:
  bool fails(const WorldOptions& options) {
    ++best_.tries;
    const pid_t child = ::fork();
    HOZON_CHECK(child >= 0);
    if (child == 0) {
      const int nowhere = ::open("/dev/null", O_WRONLY);
      ::dup2(nowhere, 1);
      ::dup2(nowhere, 2);
      World world(options);
      const bool red = !world.run().empty();
      *asked_ = world.steps_asked();
      ::_exit(red ? 1 : 0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFSIGNALED(status) || WEXITSTATUS(status) != 0;
  }
  void keep_if_it_fails(const WorldOptions& options) {
    if (best_.tries < tries_most_ && fails(options)) best_.options = options;
  }
  void drop_steps(uint64_t first, uint64_t size) {
    const std::vector<bool> before = kept_;
    const uint64_t end = std::min<uint64_t>(first + size, kept_.size());
    std::fill(kept_.begin() + static_cast<long>(first), kept_.begin() + static_cast<long>(end),
              false);
    if (kept_ == before || best_.tries >= tries_most_) {
      kept_ = before;
      return;
    }
    WorldOptions fewer = best_.options;
    fewer.skipped = ranges();
    if (fails(fewer))
      best_.options = fewer;
    else
      kept_ = before;
  }
  // Steps are counted from 1; all behind the last known one are left out as well.
  std::vector<std::pair<uint64_t, uint64_t>> ranges() const {
    std::vector<std::pair<uint64_t, uint64_t>> found;
    for (uint64_t i = 0; i < kept_.size(); ++i) {
      if (kept_[i]) continue;
      if (!found.empty() && found.back().second == i)
        ++found.back().second;
      else
        found.emplace_back(i + 1, i + 1);
    }
    return found;
  }

  uint64_t tries_most_;
  uint64_t* asked_;  // shared with the children
  std::vector<bool> kept_;
  Shrunk best_;
};

}  // namespace

Shrunk shrink(const WorldOptions& options, uint64_t tries_most) {
  return Shrinker(options, tries_most).run();
}

std::string shrunk_arguments(const WorldOptions& options) {
  std::string text;
  if (options.actors_away != 0) text += fmt::format(" --away {}", options.actors_away);
  std::string separator = " --skip ";
  for (const auto& [first, last] : options.skipped) {
    text += fmt::format("{}{}-{}", std::exchange(separator, ","), first, last);
  }
  return text;
}

}  // namespace hozon::sim
