// src/qemu/nbd_volume.h
// A volume reached over NBD, with several requests under way, that survives restarts of its server.
//
// When the connection breaks it is made again and every request without an answer is sent again
// (all are repeatable). When nothing moves for `patience_ms`, or the server refuses a request, the
// error is final. Threading: one thread. Callbacks run inside pump(), and may submit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

struct nbd_handle;

namespace hozon {

constexpr size_t kNbdInflightMax = 16;
constexpr size_t kNbdRequestBytesMax = 1 << 20;
// Smallest unit that Hozon's server announces; libnbd refuses to send anything else.
constexpr size_t kNbdUnit = 512;
constexpr int kNbdPatienceMs = 60'000;

struct NbdRequest {
  enum class Kind { kRead, kWrite, kZero, kFlush };
  Kind kind = Kind::kRead;
  uint64_t offset = 0;
  uint64_t length = 0;          // kZero; otherwise data.size()
  std::vector<std::byte> data;  // to write, or room for what is read
  std::function<Status(NbdRequest&)> then;
  bool done = false;
  int64_t cookie = 0;  // of the current connection
};
using NbdRequestPtr = std::shared_ptr<NbdRequest>;

class NbdVolume {
 public:
  static Result<std::unique_ptr<NbdVolume>> open(std::string uri, int patience_ms = kNbdPatienceMs);
  NbdVolume(const NbdVolume&) = delete;
  NbdVolume& operator=(const NbdVolume&) = delete;
  ~NbdVolume();

  uint64_t size_bytes() const { return size_bytes_; }
  // Waits until fewer than kNbdInflightMax requests are under way. From a callback it does not
  // wait.
  Status submit(NbdRequestPtr request);
  // Waits at most `wait_ms` for something to happen and handles it.
  Status pump(int wait_ms);
  Status wait_for(const NbdRequestPtr& request);
  Status drain();  // until every request is done
  Status flush();  // drains, then makes all of it durable
  // `offset` is a multiple of kNbdUnit. A write whose end is not fills its last unit with zeros.
  Status read(uint64_t offset, std::span<std::byte> into);
  Status write(uint64_t offset, std::span<const std::byte> from);
  Status zero(uint64_t offset, uint64_t length);  // queues as many requests as that takes

  struct Extent {
    uint64_t offset;
    uint64_t length;
  };
  // Where something other than zeros may be; all of it when the server cannot say.
  Result<std::vector<Extent>> data_extents(uint64_t offset, uint64_t length);
  size_t inflight() const { return requests_.size(); }

 private:
  NbdVolume(std::string uri, int patience_ms) : uri_(std::move(uri)), patience_ms_(patience_ms) {}
  Status connect();
  Status connect_once(uint64_t deadline_ns);
  Status issue(NbdRequest& request);
  Status retire();  // handles what was answered
  Status reconnect(const std::string& cause);
  bool is_broken() const;
  Status check_patience() const;

  const std::string uri_;
  const int patience_ms_;
  nbd_handle* handle_ = nullptr;
  uint64_t size_bytes_ = 0;
  uint64_t last_progress_ns_ = 0;
  bool in_callback_ = false;
  std::vector<NbdRequestPtr> requests_;
};

}  // namespace hozon
