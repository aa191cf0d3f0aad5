// Proves: a simulated history follows from its seed alone, wherever memory lies and whatever it
// held before. Method: this program's operator new gives the second run another heap than the
// first: large blocks begin at a page, neighbours lie in another order, and fresh memory is full of
// another byte. What was never written and is used, orders by address, and decisions by the
// alignment of a buffer show as another sequence of device operations.

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <new>

#include "world.h"

namespace {

constexpr size_t kLargeBytes = 2048;
constexpr size_t kPageBytes = 4096;

struct Heap {
  int fill = 0;
  bool pages = false;    // large blocks begin at a page
  bool shuffle = false;  // chance decides which of two places a block gets
};
Heap g_heap;
uint64_t g_chance = 1;

void* take(size_t size, size_t alignment) {
  void* memory = std::aligned_alloc(alignment, (size / alignment + 1) * alignment);
  if (memory == nullptr) std::abort();
  return memory;
}

[[gnu::noinline]] void* get_memory(size_t size, size_t alignment) {
  if (g_heap.pages && size >= kLargeBytes) alignment = std::max(alignment, kPageBytes);
  void* memory = take(size, alignment);
  g_chance = g_chance * 6364136223846793005 + 1442695040888963407;
  if (g_heap.shuffle && g_chance >> 63 != 0) {
    void* other = take(size, alignment);
    std::free(memory);
    memory = other;
  }
  return std::memset(memory, g_heap.fill, size);
}

[[gnu::noinline]] void free_memory(void* memory) { std::free(memory); }

constexpr size_t kUsual = alignof(std::max_align_t);

}  // namespace

void* operator new(size_t size) { return get_memory(size, kUsual); }
void* operator new[](size_t size) { return get_memory(size, kUsual); }
void* operator new(size_t size, std::align_val_t to) {
  return get_memory(size, static_cast<size_t>(to));
}
void* operator new[](size_t size, std::align_val_t to) {
  return get_memory(size, static_cast<size_t>(to));
}
// The analyzer takes what these are given for freed already.
// NOLINTBEGIN(clang-analyzer-cplusplus.NewDelete)
void operator delete(void* memory) noexcept { free_memory(memory); }
void operator delete[](void* memory) noexcept { free_memory(memory); }
void operator delete(void* memory, size_t) noexcept { free_memory(memory); }
void operator delete[](void* memory, size_t) noexcept { free_memory(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { free_memory(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { free_memory(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { free_memory(memory); }
void operator delete[](void* memory, size_t, std::align_val_t) noexcept { free_memory(memory); }
// NOLINTEND(clang-analyzer-cplusplus.NewDelete)

namespace hozon::sim {
namespace {

uint64_t run_on(const Heap& heap, const WorldOptions& options) {
  g_heap = heap;
  World world(options);
  EXPECT_EQ(world.run(), "");
  return world.trace_hash();
}

void expect_equal(const WorldOptions& options) {
  const uint64_t usual = run_on({}, options);
  EXPECT_EQ(run_on({.fill = 0xff, .pages = true}, options), usual) << "seed " << options.seed;
  EXPECT_EQ(run_on({.fill = 0x5a, .shuffle = true}, options), usual) << "seed " << options.seed;
}

TEST(Heap, DoesNotChangeAHistory) {
  for (uint64_t seed = 40'001; seed <= 40'006; ++seed)
    expect_equal({.seed = seed, .lives = 3, .faults = true});
}

TEST(Heap, DoesNotChangeAHistoryOfAFullPool) {
  for (uint64_t seed = 60'001; seed <= 60'003; ++seed)
    expect_equal({.seed = seed, .data_bytes = 4_MiB, .lives = 2, .faults = true, .crowded = true});
}

}  // namespace
}  // namespace hozon::sim
