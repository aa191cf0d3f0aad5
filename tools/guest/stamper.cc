// stamper [PAGES]
// Writes one increasing stamp to its memory, to /dev/vda and to /dev/vdb, in turn and for ever, and
// before each round looks whether all three still agree with the rounds before: in a guest that
// came back from a snapshot with memory the first look is at what the snapshot holds.
//
// Memory is PAGES (4096) pages, of which a round rewrites an eighth: stamp, place and checksum in
// each. On each disk two blocks at 1 MiB are written in turns (O_DIRECT | O_DSYNC), and both are
// looked at, so that a guest which came back between its look and its write does not wipe out what
// it should have seen. 256 more pages are written by a disk's device alone: a round reads the block
// of /dev/vda into the next of them.
//
// /run/stamper says "STAMP ok", or "STAMP VIOLATION what", and then nothing more is written.
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest_tools.h"

namespace {

constexpr size_t kPage = 4096;
constexpr off_t kPlace = 1 << 20;
constexpr uint64_t kBlocks = 2;  // on each disk
constexpr uint64_t kRounds = 8;  // until every page of RAM was rewritten
constexpr uint64_t kDmaPages = 256;

struct Block {
  uint64_t stamp;
  uint64_t place;
  uint64_t fill[kPage / 8 - 3];
  uint64_t checksum;
};
static_assert(sizeof(Block) == kPage);

uint64_t checksum_of(const Block& block) {
  uint64_t sum = 1469598103934665603U;
  const auto* words = reinterpret_cast<const uint64_t*>(&block);
  for (size_t i = 0; i + 1 < kPage / 8; ++i) sum = (sum ^ words[i]) * 1099511628211U;
  return sum;
}

void make(Block& block, uint64_t stamp, uint64_t place) {
  block.stamp = stamp;
  block.place = place;
  for (uint64_t& word : block.fill) word = stamp * 2654435761U + place;
  block.checksum = checksum_of(block);
}

bool holds(const Block& block, uint64_t stamp, uint64_t place) {
  return block.stamp == stamp && block.place == place && block.checksum == checksum_of(block);
}

off_t place_of(uint64_t stamp) { return kPlace + static_cast<off_t>(stamp % kBlocks * kPage); }

Block* pages(size_t count) {
  void* place = mmap(nullptr, count * kPage, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  return place == MAP_FAILED ? nullptr : static_cast<Block*>(place);
}

void report(uint64_t stamp, const char* verdict) {
  char text[160];
  snprintf(text, sizeof(text), "%llu %s\n", static_cast<unsigned long long>(stamp), verdict);
  replace_file("/run/stamper", text, false);
}

[[noreturn]] void violation(uint64_t stamp, const char* where, uint64_t found, uint64_t wanted) {
  char text[120];
  snprintf(text, sizeof(text), "VIOLATION %s has %llu, not %llu", where,
           static_cast<unsigned long long>(found), static_cast<unsigned long long>(wanted));
  report(stamp, text);
  exit(1);
}

class Stamper {
 public:
  explicit Stamper(uint64_t count)
      : count_(count / kRounds * kRounds),
        ram_(pages(count_)),
        dma_(pages(kDmaPages)),
        buffer_(pages(1)) {
    for (int i = 0; i < 2; ++i)
      disks_[i] = open(i == 0 ? "/dev/vda" : "/dev/vdb", O_RDWR | O_DIRECT | O_DSYNC);
  }
  bool is_ready() const {
    return ram_ != nullptr && dma_ != nullptr && buffer_ != nullptr && disks_[0] >= 0 &&
           disks_[1] >= 0;
  }
  void round(uint64_t stamp) {
    for (uint64_t age = 1; age <= kBlocks && age < stamp; ++age) check_disks(stamp - age);
    const uint64_t share = count_ / kRounds;
    for (uint64_t i = 0; i < share; ++i) {
      Block& page = ram_[stamp % kRounds * share + i];
      if (stamp > kRounds && !holds(page, stamp - kRounds, i))
        violation(stamp, "RAM", page.stamp, stamp - kRounds);
      make(page, stamp, i);
    }
    for (int i = 0; i < 2; ++i) write_disk(i, stamp);
    read_by_device(stamp);
  }

 private:
  void write_disk(int disk, uint64_t stamp) {
    make(*buffer_, stamp, static_cast<uint64_t>(disk));
    if (pwrite(disks_[disk], buffer_, kPage, place_of(stamp)) != static_cast<ssize_t>(kPage))
      violation(stamp, "a failed write", 0, stamp);
  }
  void check_disks(uint64_t stamp) {
    for (int i = 0; i < 2; ++i) {
      if (pread(disks_[i], buffer_, kPage, place_of(stamp)) != static_cast<ssize_t>(kPage) ||
          !holds(*buffer_, stamp, static_cast<uint64_t>(i)))
        violation(stamp, i == 0 ? "/dev/vda" : "/dev/vdb", buffer_->stamp, stamp);
    }
  }
  void read_by_device(uint64_t stamp) {
    Block& page = dma_[stamp % kDmaPages];
    if (stamp > kDmaPages && !holds(page, stamp - kDmaPages, 0))
      violation(stamp, "a page that only the device writes", page.stamp, stamp - kDmaPages);
    if (pread(disks_[0], &page, kPage, place_of(stamp)) != static_cast<ssize_t>(kPage) ||
        !holds(page, stamp, 0))
      violation(stamp, "/dev/vda read back", page.stamp, stamp);
  }

  uint64_t count_;
  Block* ram_;
  Block* dma_;
  Block* buffer_;
  int disks_[2] = {-1, -1};
};

}  // namespace

int stamper(uint64_t count) {
  Stamper state(count);
  if (!state.is_ready()) return 1;
  for (uint64_t stamp = 1;; ++stamp) {
    state.round(stamp);
    report(stamp, "ok");
  }
}
