#include "store/block_reader.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/sync.h"
#include "store/types.h"

namespace hozon::store {
namespace {

constexpr size_t kBlocksPerRead = 256;
constexpr uint64_t kReadsInFlight = 32;

using Visit = std::function<Status(const WantedBlock&, std::span<const std::byte>)>;

struct Reading {
  Reading(Executor& executor, Device& data_in) : data(data_in), one_done(executor) {}
  Device& data;
  Event one_done;
  uint64_t running = 0;
  Status first_error;
};

Task<void> read_run(Reading& reading, std::span<const WantedBlock> run, const std::string& what,
                    const Visit& visit) {
  const uint64_t first = run.front().block;
  AlignedBuffer buffer((run.back().block - first + 1) * kBlockSize);
  const int error = co_await reading.data.read(first * kBlockSize, buffer.span());
  if (error != 0 && reading.first_error)
    reading.first_error = errno_error(-error, "read the pool's {} (block {})", what, first);
  for (const WantedBlock& which : run) {
    if (!reading.first_error) break;
    reading.first_error =
        visit(which, buffer.span().subspan((which.block - first) * kBlockSize, kBlockSize));
  }
  --reading.running;
  reading.one_done.pulse();
}

}  // namespace

Task<Status> read_blocks(Executor& executor, Device& data, std::vector<WantedBlock> wanted,
                         std::string what, Visit visit) {
  std::ranges::sort(wanted, {}, &WantedBlock::block);
  Reading reading(executor, data);
  for (size_t at = 0; at < wanted.size() && reading.first_error;) {
    // The same block may be wanted twice.
    size_t end = at + 1;
    while (end < wanted.size() && end - at < kBlocksPerRead &&
           wanted[end].block - wanted[end - 1].block <= 1)
      ++end;
    while (reading.running >= kReadsInFlight) co_await reading.one_done;
    ++reading.running;
    spawn(read_run(reading, std::span(wanted).subspan(at, end - at), what, visit));
    at = end;
  }
  while (reading.running > 0) co_await reading.one_done;
  co_return reading.first_error;
}

}  // namespace hozon::store
