// tests/sim/rot.cc
// Damage is a flipped bit, a page of zeros, or the content of another page (a misdirected write).

#include "rot.h"

#include "base/units.h"
#include "io_memory.h"

namespace hozon::sim {
namespace {

using store::Pool;

struct Findings {
  std::string wrong;
  uint64_t refused = 0;
};

// Reads block by block, so that one damaged block hides no other.
template <typename Settle>
Task<void> read_blocks(Pool& pool, store::Target target, uint64_t size_bytes, Settle settle,
                       Findings& findings) {
  const IoMemory memory(kPageSize, true);
  const std::span<std::byte> buffer = memory.span();
  for (const auto& [first, end] : volume_windows(size_bytes)) {
    for (uint64_t block = first; block < end && findings.wrong.empty(); ++block) {
      const uint64_t size = std::min(size_bytes - block * kPageSize, kPageSize);
      const Status read = co_await pool.read(target, block * kPageSize, buffer.first(size));
      if (!read) {
        ++findings.refused;
        if (read.error().code != Code::kCorruption)
          findings.wrong = "damage is not called damage: " + read.error().what;
        continue;
      }
      for (uint64_t at = 0; at < size && findings.wrong.empty(); at += kSectorSize)
        findings.wrong =
            settle((block * kPageSize + at) / kSectorSize, buffer.subspan(at, kSectorSize));
    }
  }
}

Task<Findings> read_everything(Pool& pool, Model& model) {
  Findings findings;
  for (const auto& [uid, volume] : model.volumes) {
    const auto target = pool.target(volume.name);
    if (!target) {
      findings.wrong = fmt::format("volume '{}' has vanished", volume.name);
      co_return findings;
    }
    const auto settle = [&model, uid = uid](uint64_t sector, std::span<const std::byte> bytes) {
      return model.settle_head(uid, sector, bytes, Model::After::kQuiet);
    };
    co_await read_blocks(pool, *target, volume.size_bytes, settle, findings);
  }
  for (const auto& [uid, point] : model.points) {
    const auto target = pool.target(model.volumes.at(point->volume).name, point->name);
    if (!target) {
      findings.wrong = fmt::format("point '{}' has vanished", point->name);
      co_return findings;
    }
    const auto settle = [&model, uid = uid](uint64_t sector, std::span<const std::byte> bytes) {
      return model.settle_point(uid, sector, bytes);
    };
    co_await read_blocks(pool, *target, point->size_bytes, settle, findings);
  }
  const auto report = co_await pool.check(true);
  if (findings.wrong.empty() && findings.refused > 0 && report && report->errors.empty())
    findings.wrong = "reads are refused, but the check finds nothing";
  co_return findings;
}

std::string damage(SimPower& power, Random& random) {
  const uint64_t pages = power.image(0).size_bytes() / kPageSize;
  // Pages that hold something, if some can be found.
  uint64_t page = random.below(pages);
  static const PageRef kEmpty;
  for (int i = 0;
       i < 200 && std::memcmp(power.image(0).page(page).data(), kEmpty.data(), kPageSize) == 0; ++i)
    page = random.below(random.chance(1, 8) ? 2 : pages);
  switch (random.below(3)) {
    case 0: {
      const uint64_t offset = page * kPageSize + random.below(kPageSize);
      power.rot(0, offset, static_cast<uint8_t>(1u << random.below(8)));
      return fmt::format("a bit of byte {} flipped", offset);
    }
    case 1: power.replace_page(0, page, PageRef()); return fmt::format("page {} zeroed", page);
    default: {
      const uint64_t other = random.below(pages);
      power.replace_page(0, page, power.image(0).page(other));
      return fmt::format("page {} holds page {}", page, other);
    }
  }
}

}  // namespace

RotCounters& RotCounters::operator+=(const RotCounters& other) {
  tried += other.tried;
  refused_opening += other.refused_opening;
  refused_reads += other.refused_reads;
  return *this;
}

std::string try_rot(const SimPower& power, const Model& model, Random& random,
                    RotCounters& counters) {
  ++counters.tried;
  const auto copy = power.fork({.kind = CrashKind::kCut, .choice = Fate::Choice::kAll});
  const std::string what = damage(*copy, random);
  Model expected = model;
  Session session(*copy, random.next());
  Result<std::unique_ptr<Pool>> opened;
  store::OpenOptions options;
  options.background = false;
  options.read_only = true;
  std::string wrong = session.run(
      Pool::open(session.executor, copy->data(), copy->journal(), options), opened, "open");
  if (!wrong.empty()) return what + ": " + wrong;
  if (!opened) {
    ++counters.refused_opening;
    return "";
  }
  session.pool = *std::move(opened);
  Findings findings;
  wrong = session.run(read_everything(*session.pool, expected), findings, "reading");
  if (!wrong.empty()) return what + ": " + wrong;
  if (findings.refused > 0) ++counters.refused_reads;
  wrong = findings.wrong;
  if (const std::string late = session.close(); wrong.empty()) wrong = late;
  return wrong.empty() ? "" : what + ": " + wrong;
}

}  // namespace hozon::sim
