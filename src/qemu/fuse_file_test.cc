// Proves: the one file is found, read in any piece and never written; an error of the store is an
// error of the read; and whatever a request holds, the answer is one that the kernel can take.
#include "qemu/fuse_file.h"

#include <gtest/gtest.h>
#include <linux/fuse.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>

#include "base/bytes.h"

namespace hozon {
namespace {

constexpr uint64_t kBytes = 3 * 4096;

class Content : public FuseContent {
 public:
  uint64_t size_bytes() const override { return kBytes; }
  Status read(uint64_t offset, std::span<std::byte> into) override {
    EXPECT_EQ(offset % 4096, 0U);
    EXPECT_EQ(into.size() % 4096, 0U);
    EXPECT_LE(offset + into.size(), kBytes);
    if (is_damaged) return make_error(Code::kCorruption, "damaged");
    std::memset(into.data(), static_cast<int>(offset / 4096 + 1),
                std::min<size_t>(into.size(), 4096));
    return {};
  }
  bool is_damaged = false;
};

struct Answer {
  int error = 0;
  std::vector<std::byte> body;
};

std::vector<std::byte> request_of(uint32_t opcode, uint64_t node,
                                  std::span<const std::byte> arguments = {}) {
  fuse_in_header header{};
  header.len = static_cast<uint32_t>(sizeof(header) + arguments.size());
  header.opcode = opcode;
  header.unique = 77;
  header.nodeid = node;
  std::vector<std::byte> request(header.len);
  std::memcpy(request.data(), &header, sizeof(header));
  std::ranges::copy(arguments, request.begin() + sizeof(header));
  return request;
}

Answer ask(FuseContent& content, uint32_t opcode, uint64_t node,
           std::span<const std::byte> arguments = {}) {
  const auto reply = answer_fuse(request_of(opcode, node, arguments), content);
  fuse_out_header out{};
  EXPECT_GE(reply.size(), sizeof(out));
  std::memcpy(&out, reply.data(), sizeof(out));
  EXPECT_EQ(out.len, reply.size());
  EXPECT_EQ(out.unique, 77U);
  return {-out.error, {reply.begin() + sizeof(out), reply.end()}};
}

Answer read_at(FuseContent& content, uint64_t offset, uint32_t size) {
  fuse_read_in in{};
  in.offset = offset;
  in.size = size;
  return ask(content, FUSE_READ, 2, bytes_of(in));
}

TEST(FuseFile, IsFoundByItsNameAlone) {
  Content content;
  const char name[] = "ram";
  const Answer found = ask(content, FUSE_LOOKUP, FUSE_ROOT_ID, bytes_of(name));
  ASSERT_EQ(found.error, 0);
  fuse_entry_out entry{};
  ASSERT_EQ(found.body.size(), sizeof(entry));
  std::memcpy(&entry, found.body.data(), sizeof(entry));
  EXPECT_EQ(entry.attr.size, kBytes);
  const char other[] = "rom";
  EXPECT_EQ(ask(content, FUSE_LOOKUP, FUSE_ROOT_ID, bytes_of(other)).error, ENOENT);
  EXPECT_EQ(ask(content, FUSE_LOOKUP, 2, bytes_of(name)).error, ENOENT);
}

TEST(FuseFile, IsReadInAnyPieceUpToItsEnd) {
  Content content;
  const Answer page = read_at(content, 4096, 4096);
  ASSERT_EQ(page.body.size(), 4096U);
  EXPECT_EQ(page.body[5], std::byte{2});
  EXPECT_EQ(read_at(content, 0, 100).body.size(), 100U);
  EXPECT_EQ(read_at(content, 8192, 1 << 20).body.size(), 4096U);
  EXPECT_EQ(read_at(content, kBytes, 4096).body.size(), 0U);
  EXPECT_EQ(read_at(content, 1, 4096).error, EINVAL);
}

TEST(FuseFile, ADamagedPageIsAnErrorAndNoBytes) {
  Content content;
  content.is_damaged = true;
  const Answer answer = read_at(content, 0, 4096);
  EXPECT_EQ(answer.error, EIO);
  EXPECT_TRUE(answer.body.empty());
}

TEST(FuseFile, NothingIsWritten) {
  Content content;
  for (const uint32_t opcode : {FUSE_WRITE, FUSE_SETATTR, FUSE_FALLOCATE})
    EXPECT_EQ(ask(content, opcode, 2).error, EROFS);
  for (const uint32_t opcode : {FUSE_CREATE, FUSE_UNLINK, FUSE_RENAME, FUSE_MKDIR})
    EXPECT_EQ(ask(content, opcode, FUSE_ROOT_ID).error, ENOSYS);
}

TEST(FuseFile, AnyBytesGetAnAnswerOrNone) {
  Content content;
  std::mt19937 random(20261128);
  for (int round = 0; round < 20'000; ++round) {
    std::vector<std::byte> request = request_of(static_cast<uint32_t>(random() % 60), random() % 4);
    request.resize(sizeof(fuse_in_header) + random() % 80);
    for (size_t at = sizeof(fuse_in_header); at < request.size(); ++at)
      request[at] = static_cast<std::byte>(random() % 3 == 0 ? random() : 0);
    auto length = static_cast<uint32_t>(random() % 4 == 0 ? random() % 200 : request.size());
    std::memcpy(request.data(), &length, sizeof(length));
    const auto reply = answer_fuse(request, content);
    if (reply.empty()) continue;
    uint32_t told = 0;
    std::memcpy(&told, reply.data(), sizeof(told));
    ASSERT_EQ(told, reply.size());
  }
}

}  // namespace
}  // namespace hozon
