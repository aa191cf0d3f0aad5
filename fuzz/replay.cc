// Runs a fuzz target without libFuzzer: every file of a corpus directory, then mutations of it that
// are the same in every run (3000 of each file, unless another number is given). A crash prints
// which file and which mutation.
#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" [[gnu::weak]] int LLVMFuzzerInitialize(int* argc, char*** argv);

namespace {

constexpr int kMutationsPerFile = 3000;
constexpr size_t kInputBytesMax = 1 << 20;

// splitmix64: small, and the same everywhere.
uint64_t next_random(uint64_t& state) {
  uint64_t z = (state += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

// Values at which parsers break.
constexpr uint64_t kInteresting[] = {0,
                                     1,
                                     2,
                                     7,
                                     8,
                                     255,
                                     256,
                                     4095,
                                     4096,
                                     0x7fff,
                                     0x8000,
                                     0xffff,
                                     0x7fffffff,
                                     0x80000000,
                                     0xffffffff,
                                     0x7fffffffffffffff,
                                     0x8000000000000000,
                                     0xffffffffffffffff};

void mutate(std::vector<uint8_t>& bytes, uint64_t& random) {
  const uint64_t changes = 1 + next_random(random) % 4;
  for (uint64_t i = 0; i < changes && !bytes.empty(); ++i) {
    const size_t at = next_random(random) % bytes.size();
    switch (next_random(random) % 5) {
      case 0: bytes[at] ^= static_cast<uint8_t>(1u << (next_random(random) % 8)); break;
      case 1: bytes[at] = static_cast<uint8_t>(next_random(random)); break;
      case 2: bytes.resize(at); break;
      case 3: {
        const size_t width = size_t{1} << (next_random(random) % 4);
        uint64_t value = kInteresting[next_random(random) % std::size(kInteresting)];
        if (next_random(random) % 2 == 0) value = __builtin_bswap64(value) >> (64 - 8 * width);
        for (size_t j = 0; j < width && at + j < bytes.size(); ++j)
          bytes[at + j] = static_cast<uint8_t>(value >> (8 * j));
        break;
      }
      default: {
        const size_t length = std::min(bytes.size() - at, size_t{1} + next_random(random) % 64);
        const std::vector<uint8_t> piece(bytes.begin() + static_cast<ptrdiff_t>(at),
                                         bytes.begin() + static_cast<ptrdiff_t>(at + length));
        bytes.insert(bytes.begin() + static_cast<ptrdiff_t>(at), piece.begin(), piece.end());
      }
    }
    if (bytes.size() > kInputBytesMax) bytes.resize(kInputBytesMax);
  }
}

std::vector<uint8_t> read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

// Where we are, for the message when the target aborts.
std::string place;
void say_place() {
  std::fputs(place.c_str(), stderr);
  std::_Exit(134);
}

}  // namespace

int main(int argc, char** argv) {
  const int mutations = argc == 3 ? std::atoi(argv[2]) : kMutationsPerFile;
  if (argc < 2 || argc > 3 || mutations < 1) {
    fmt::print(stderr, "usage: {} CORPUS_DIRECTORY [MUTATIONS]\n", argv[0]);
    return 2;
  }
  if (LLVMFuzzerInitialize != nullptr) LLVMFuzzerInitialize(&argc, &argv);
  std::signal(SIGABRT, [](int) { say_place(); });
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) files.push_back(entry);
  std::sort(files.begin(), files.end());
  if (files.empty()) {
    fmt::print(stderr, "{}: no seed at all, nothing would be tested\n", argv[1]);
    return 1;
  }
  uint64_t runs = 0;
  for (const auto& path : files) {
    const std::vector<uint8_t> seed = read_file(path);
    uint64_t random = 1;
    for (int i = 0; i <= mutations; ++i) {
      std::vector<uint8_t> bytes = seed;
      if (i > 0) mutate(bytes, random);
      place = fmt::format("seed file {}, mutation {}\n", path.filename().string(), i);
      LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
      ++runs;
    }
  }
  fmt::print("{} inputs from {} seeds\n", runs, files.size());
  return 0;
}
