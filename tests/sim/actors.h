// tests/sim/actors.h
// The guests and administrators of a World. Each is a coroutine that does one thing after the
// other, tells the model before the call and after the answer, and stops when its life has ended.
#pragma once

#include <optional>

#include "world.h"

namespace hozon::sim {

class Guest {
 public:
  Guest(World& world, uint64_t seed)
      : world_(world), random_(seed), flushes_each_(random_.chance(1, 3)) {}
  Task<void> run();

 private:
  struct Range {
    uint64_t volume = 0;
    store::Target target;
    uint64_t sector = 0, count = 0;
  };
  std::optional<Range> pick_range(bool for_write);
  uint64_t pick_length();
  Task<void> write();
  Task<void> write_small();
  Task<void> clear();
  Task<void> read_head();
  Task<void> read_point();
  Task<void> flush();
  Task<void> rest();
  void finish_write(const Model::Io& io, const Status& status, bool fua, std::string_view what);

  World& world_;
  Random random_;
  bool flushes_each_;                          // of its writes, as a database does
  std::map<uint64_t, store::Target> targets_;  // kept as long as a connection keeps them
};

class Admin {
 public:
  Admin(World& world, uint64_t seed) : world_(world), random_(seed) {}
  Task<void> run();

 private:
  // --- choosing, and locks against the other administrator ---
  std::vector<uint64_t> free_volumes() const;
  uint64_t pick_volume();  // 0: none is unlocked
  uint64_t pick_point();   // of an unlocked volume; 0: none
  bool lock(const std::vector<uint64_t>& volumes, bool still);
  void unlock();
  // --- one operation: begin, call the pool, end ---
  bool begin(AdminOp op);
  // True when it was applied. An error must be `refusal`, or be explained by faults or lack of
  // space.
  bool end(const Status& status, std::optional<Code> refusal = std::nullopt);
  template <typename T>
  bool end(const Result<T>& result, std::optional<Code> refusal = std::nullopt) {
    return end(result ? Status() : Status(std::unexpected(result.error())), refusal);
  }
  void learn_ids(const std::vector<uint64_t>& volumes);
  const std::string& volume_name(uint64_t uid) { return world_.model_.volumes.at(uid).name; }

  Task<void> one();
  Task<void> create();
  Task<void> grow();
  Task<void> shrink();
  Task<void> rename();
  Task<void> delete_volume();
  Task<void> snapshot();
  Task<void> clone();
  Task<void> return_to();
  Task<void> delete_point();
  Task<void> ask_wrongly();
  Task<void> service();
  Task<void> defragment();
  Task<void> check(bool verify_data);
  Task<bool> settle(uint64_t point);
  void lock_made(uint64_t volume);
  Task<void> audit_step();
  Task<std::string> audit_locked();

  World& world_;
  Random random_;
  std::vector<uint64_t> locked_;
  uint64_t key_ = 0;  // of the running operation
};

}  // namespace hozon::sim
