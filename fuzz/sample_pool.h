// fuzz/sample_pool.h
// A small pool in memory, as a kill would leave it: a checkpoint with trees of three heights,
// points, a clone, a fork and a point being reclaimed, and a journal behind it. Made once per
// process by the engine itself, the same every time.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/device.h"
#include "script_loop.h"
#include "store/pool.h"

namespace hozon::fuzz {

// A disk that is a vector of bytes.
class MemoryDevice final : public Device {
 public:
  MemoryDevice(ScriptLoop& loop, std::vector<std::byte> bytes)
      : loop_(loop), bytes_(std::move(bytes)) {}
  uint64_t size_bytes() const override { return bytes_.size(); }
  void submit(IoOp& op) override;
  int write_now(uint64_t offset, std::span<const std::byte> from) override;
  std::vector<std::byte>& bytes() { return bytes_; }

 private:
  ScriptLoop& loop_;
  std::vector<std::byte> bytes_;
};

struct Image {
  std::vector<std::byte> data;
  std::vector<std::byte> journal;
};

// What one volume ("name") or point ("name@point") shows at the places that are looked at; nothing
// where the read was refused.
struct Export {
  uint64_t size_bytes = 0;
  std::map<uint64_t, std::optional<uint64_t>> hashes;  // of blocks, by index
};
using Contents = std::map<std::string, Export>;

// Reads every export; only kCorruption and kIo may keep a block back.
Contents contents_of(ScriptLoop& loop, store::Pool& pool);
bool agrees(const Contents& found, const Contents& expected);

struct FramePlace {
  uint64_t offset = 0;  // in the journal's file
  uint64_t length = 0;
};

struct SamplePool {
  Image image;
  std::vector<FramePlace> frames;  // behind the checkpoint
  std::vector<Contents> states;    // [k]: after the first k frames
  // Blocks by what they hold, in the state of the checkpoint.
  std::vector<uint64_t> catalog_blocks, bitmap_blocks, node_blocks, data_blocks;
};
const SamplePool& sample_pool();

}  // namespace hozon::fuzz
