// src/serve/memory_backend.h
// A Backend that keeps its volumes in memory: the model that server tests compare with, and the
// place where they make requests wait or fail.
#pragma once

#include <map>
#include <optional>

#include "base/sync.h"
#include "serve/backend.h"

namespace hozon::serve {

class MemoryBackend final : public Backend {
 public:
  static constexpr uint64_t kBlock = 4096;

  struct Volume {
    std::vector<std::byte> data;
    std::vector<bool> mapped;  // per block
    // What each point holds: the volume's bytes at that instant.
    std::map<std::string, std::vector<std::byte>, std::less<>> points;
    explicit Volume(uint64_t size_bytes)
        : data(size_bytes), mapped((size_bytes + kBlock - 1) / kBlock) {}
  };

  explicit MemoryBackend(Executor& executor) : gate_(executor) { gate_.set(); }

  std::vector<ExportInfo> list(size_t exports_max) const override;
  Result<std::unique_ptr<Session>> open(std::string_view name) override;

  Volume& add(const std::string& name, uint64_t size_bytes);
  void remove(const std::string& name) { volumes_.erase(name); }
  void resize(const std::string& name, uint64_t size_bytes);
  void snapshot(const std::string& name, const std::string& point);
  std::shared_ptr<Volume> volume(std::string_view name) const;

  // While closed, reads, writes and flushes wait.
  Event& gate() { return gate_; }
  // The next operation fails with this.
  void fail_next(Error error) { failure_ = std::move(error); }
  uint64_t flushes() const { return flushes_; }

 private:
  friend class MemorySession;
  // Waits for the gate; then an injected failure, if there is one.
  Task<Status> admit();

  Event gate_;
  std::optional<Error> failure_;
  uint64_t flushes_ = 0;
  std::map<std::string, std::shared_ptr<Volume>, std::less<>> volumes_;
};

}  // namespace hozon::serve
