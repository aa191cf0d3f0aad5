#include "store/run_verifier.h"

#include <utility>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/result.h"
#include "store/types.h"

namespace hozon::store {
namespace {
constexpr uint64_t kRunsAtATime = 8;
}

std::vector<DataRun> runs_of(uint64_t first, std::span<const format::Pointer> pointers) {
  std::vector<DataRun> runs;
  for (size_t i = 0; i < pointers.size(); ++i) {
    const format::Pointer& pointer = pointers[i];
    if (pointer.is_null()) continue;
    const bool joins = !runs.empty() &&
                       runs.back().index + runs.back().blocks.size() == first + i &&
                       runs.back().blocks.back().block + 1 == pointer.block;
    if (!joins) runs.push_back({first + i, {}});
    runs.back().blocks.push_back(pointer);
  }
  return runs;
}

Task<void> RunVerifier::add(DataRun run) {
  while (running_.running() >= kRunsAtATime) co_await one_done_;
  running_.start(verify(std::move(run)));
}

Task<std::vector<BadBlock>> RunVerifier::finish() {
  co_await running_.wait();
  co_return std::exchange(bad_, {});
}

Task<void> RunVerifier::verify(DataRun run) {
  AlignedBuffer buffer(run.blocks.size() * kBlockSize);
  const uint64_t block = run.blocks[0].block;
  const int error = co_await data_.read(block * kBlockSize, buffer.span());
  for (size_t i = 0; i < run.blocks.size(); ++i) {
    const std::span<std::byte> one = buffer.span().subspan(i * kBlockSize, kBlockSize);
    // After an error of the medium: which of the blocks is it?
    int own_error = error;
    if (error != 0 && run.blocks.size() > 1)
      own_error = co_await data_.read((block + i) * kBlockSize, one);
    if (own_error != 0)
      bad_.push_back({run.index + i, block + i, errno_to_error(-own_error, "cannot be read").what});
    else if (crc32c(one) != run.blocks[i].crc32c)
      bad_.push_back({run.index + i, block + i, "is damaged (checksum differs)"});
  }
  one_done_.pulse();
}

}  // namespace hozon::store
