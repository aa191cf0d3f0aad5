// tests/sim/toy/toy_pool.cc
// The log: records of {crc, length, payload}; each crc continues the one before, so that what is
// left of an earlier, longer log never fits. Replay calls the same functions as the operations do.

#include "toy_pool.h"

#include <array>
#include <cstring>
#include <map>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/units.h"
#include "store/pool.h"

namespace hozon::store {

using sim::ToyFlaw;

namespace {
ToyFlaw g_flaw = ToyFlaw::kNone;

using Block = std::array<std::byte, kBlockSize>;
struct Node {
  PointInfo info;
  std::map<uint64_t, std::shared_ptr<Block>> blocks;
};
struct RecordHead {
  uint32_t crc;
  uint32_t length;
};

// A record's payload: numbers and strings one after the other.
class Payload {
 public:
  Payload() = default;
  explicit Payload(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}
  Payload& number(uint64_t value) { return append(std::as_bytes(std::span(&value, 1))); }
  Payload& text(std::span<const std::byte> text) { return number(text.size()).append(text); }
  Payload& text(const std::string& s) { return text(std::as_bytes(std::span(s.data(), s.size()))); }
  uint64_t take_number() {
    uint64_t value = 0;
    if (at_ + 8 <= bytes_.size()) std::memcpy(&value, bytes_.data() + at_, 8);
    at_ += 8;
    return value;
  }
  std::span<const std::byte> take_bytes() {
    const uint64_t size =
        std::min<uint64_t>(take_number(), bytes_.size() - std::min(at_, bytes_.size()));
    at_ += size;
    return std::span(bytes_).subspan(at_ - size, size);
  }
  std::string take_text() {
    const auto bytes = take_bytes();
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  Payload& append(std::span<const std::byte> more) {
    bytes_.insert(bytes_.end(), more.begin(), more.end());
    return *this;
  }
  std::vector<std::byte> bytes_;
  size_t at_ = 0;
};

enum class Op : uint64_t {
  kWrite,
  kZero,
  kCreate,
  kResize,
  kRename,
  kDelete,
  kSnapshot,
  kClone,
  kReturn,
  kDeletePoint,
  kRenamePoint
};

}  // namespace

class PoolCore {
 public:
  PoolCore(Executor& executor, Device& data, Device& journal)
      : executor_(executor), data_(data), journal_(journal) {}

  Task<Status> replay() {
    AlignedBuffer log(journal_.size_bytes());
    if (const int error = co_await journal_.read(0, log.span()); error != 0)
      co_return errno_error(-error, "read the log");
    while (tail_ + sizeof(RecordHead) <= log.size()) {
      RecordHead head;
      std::memcpy(&head, log.data() + tail_, sizeof(head));
      if (head.length == 0 || tail_ + sizeof(head) + head.length > log.size()) break;
      const auto payload = log.span().subspan(tail_ + sizeof(head), head.length);
      const bool good = crc32c(payload, chain_) == head.crc;
      if (!good && g_flaw != ToyFlaw::kBelievesTornRecords) break;
      tail_ += sizeof(head) + head.length;
      chain_ = head.crc;
      apply(Payload({payload.begin(), payload.end()}));
    }
    co_return Status();
  }

  // The record reaches the kernel, then memory changes.
  Status commit(const Payload& payload) {
    const RecordHead head{crc32c(payload.bytes(), chain_),
                          static_cast<uint32_t>(payload.bytes().size())};
    std::vector<std::byte> record(sizeof(head) + payload.bytes().size());
    std::memcpy(record.data(), &head, sizeof(head));
    std::memcpy(record.data() + sizeof(head), payload.bytes().data(), payload.bytes().size());
    if (tail_ + record.size() > journal_.size_bytes())
      return make_error(Code::kResourceExhausted, "the toy's log is full");
    if (failed_) return make_error(Code::kUnavailable, "the toy is broken");
    if (const int error = journal_.write_now(tail_, record); error != 0) {
      failed_ = true;
      return errno_error(-error, "write the log");
    }
    tail_ += record.size();
    chain_ = head.crc;
    apply(Payload({payload.bytes().begin(), payload.bytes().end()}));
    return Status();
  }

  Task<Status> commit_durably(Payload payload) {
    HOZON_CO_CHECK(commit(payload));
    if (g_flaw == ToyFlaw::kAdminWithoutSync) co_return Status();
    co_return co_await sync();
  }

  Task<Status> sync() {
    const int error = co_await journal_.sync();
    if (failed_) co_return make_error(Code::kUnavailable, "the toy is broken");
    failed_ = error != 0 && g_flaw != ToyFlaw::kTrustsSecondSync;
    if (error != 0) co_return errno_error(-error, "sync the log");
    co_return Status();
  }

  // Takes the time that a real transfer would.
  Task<void> dawdle() {
    AlignedBuffer block(kBlockSize);
    co_await data_.read(0, block.span());
  }

  void apply(Payload p) {
    const Op op = static_cast<Op>(p.take_number());
    switch (op) {
      case Op::kWrite: {
        const uint64_t node = p.take_number(), offset = p.take_number();
        put(node, offset, p.take_bytes());
        break;
      }
      case Op::kZero: {
        const uint64_t node = p.take_number(), offset = p.take_number(), length = p.take_number();
        const std::vector<std::byte> zeros(length);
        put(node, offset, zeros);
        break;
      }
      case Op::kCreate: {
        const std::string name = p.take_text();
        make_volume(name, p.take_number(), 0);
        break;
      }
      case Op::kResize: {
        const uint64_t id = p.take_number(), size = p.take_number();
        Node& head = nodes[volumes[id].head_point_id];
        volumes[id].size_bytes = head.info.size_bytes = size;
        std::erase_if(head.blocks, [&](const auto& b) { return b.first * kBlockSize >= size; });
        break;
      }
      case Op::kRename: {
        const uint64_t id = p.take_number();
        volumes[id].name = p.take_text();
        break;
      }
      case Op::kDelete: {
        const uint64_t id = p.take_number();
        volumes.erase(id);
        std::vector<uint64_t> doomed;
        for (const auto& [node_id, node] : nodes)
          if (node.info.volume_id == id) doomed.push_back(node_id);
        for (const uint64_t node_id : doomed) remove(node_id);
        break;
      }
      case Op::kSnapshot: {
        const std::string name = p.take_text();
        for (uint64_t left = p.take_number(); left > 0; --left) snapshot(p.take_number(), name);
        break;
      }
      case Op::kClone: {
        const uint64_t source = p.take_number();
        const std::string name = p.take_text();
        make_volume(name, nodes[source].info.size_bytes, source);
        break;
      }
      case Op::kReturn: {
        const std::string keep = p.take_text();
        for (uint64_t left = p.take_number(); left > 0; --left) {
          const uint64_t volume = p.take_number(), target = p.take_number();
          return_one(volume, target, keep);
        }
        break;
      }
      case Op::kDeletePoint: {
        const uint64_t id = p.take_number();
        remove(id);
        break;
      }
      case Op::kRenamePoint: {
        const uint64_t id = p.take_number();
        nodes[id].info.name = p.take_text();
        break;
      }
    }
  }

  void remove(uint64_t id) {
    const uint64_t parent = nodes[id].info.parent_id;
    nodes.erase(id);
    for (auto& [other, node] : nodes) {
      if (node.info.parent_id != id) continue;
      node.info.parent_id = parent;
      if (g_flaw == ToyFlaw::kDeletesChild && !node.blocks.empty())
        node.blocks.erase(node.blocks.begin());
    }
  }
  void put(uint64_t node, uint64_t offset, std::span<const std::byte> from) {
    for (size_t done = 0; done < from.size();) {
      const uint64_t at = offset + done, inside = at % kBlockSize;
      const size_t size = std::min<size_t>(from.size() - done, kBlockSize - inside);
      std::shared_ptr<Block>& block = nodes[node].blocks[at / kBlockSize];
      const bool share = g_flaw == ToyFlaw::kPointSharesHead && size < kBlockSize;
      if (!block)
        block = std::make_shared<Block>();
      else if (block.use_count() > 1 && !share)
        block = std::make_shared<Block>(*block);
      std::memcpy(block->data() + inside, from.data() + done, size);
      done += size;
    }
  }
  void make_volume(const std::string& name, uint64_t size, uint64_t source) {
    const uint64_t volume = next_id++, head = next_id++;
    volumes[volume] = {volume, name, size, 0, head, 0};
    if (source != 0) nodes[head].blocks = nodes[source].blocks;
    if (source != 0 && nodes[source].info.kind == PointKind::kHead)
      source = nodes[source].info.parent_id;
    nodes[head].info = {head, source, volume, PointKind::kHead, "", size, 0, 0};
  }
  void snapshot(uint64_t volume, const std::string& name) {
    const uint64_t id = next_id++;
    Node& head = nodes[volumes[volume].head_point_id];
    nodes[id] = head;
    nodes[id].info.id = id;
    nodes[id].info.kind = PointKind::kSnapshot;
    nodes[id].info.name = name;
    head.info.parent_id = id;
  }
  void return_one(uint64_t volume, uint64_t target, const std::string& keep) {
    Node& old = nodes[volumes[volume].head_point_id];
    const uint64_t id = next_id++;
    nodes[id] = nodes[target];
    nodes[id].info = {id, target, volume, PointKind::kHead, "", nodes[target].info.size_bytes,
                      0,  0};
    volumes[volume].head_point_id = id;
    volumes[volume].size_bytes = nodes[id].info.size_bytes;
    old.info.kind = PointKind::kSnapshot;
    old.info.name = keep;
    if (keep.empty()) nodes.erase(old.info.id);
  }

  Result<uint64_t> node_of(Target target) const {
    const auto volume = volumes.find(target.volume_id);
    if (volume == volumes.end()) return make_error(Code::kNotFound, "no such volume");
    const uint64_t id = target.point_id != 0 ? target.point_id : volume->second.head_point_id;
    if (!nodes.contains(id)) return make_error(Code::kNotFound, "no such point");
    return id;
  }
  Result<uint64_t> volume_id(std::string_view name) const {
    for (const auto& [id, volume] : volumes)
      if (volume.name == name) return id;
    return make_error(Code::kNotFound, "no volume '{}'", name);
  }
  Result<uint64_t> point_id(std::string_view volume, std::string_view point) const {
    const uint64_t owner = HOZON_TRY(volume_id(volume));
    if (point.empty()) return volumes.at(owner).head_point_id;
    for (const auto& [id, node] : nodes)
      if (node.info.volume_id == owner && node.info.name == point) return id;
    return make_error(Code::kNotFound, "no point '{}@{}'", volume, point);
  }
  Task<Status> modify(Target target, uint64_t offset, uint64_t length, Payload payload, bool fua,
                      bool logged) {
    co_await dawdle();
    const auto node = node_of(target);
    if (!node) co_return std::unexpected(node.error());
    if (offset + length > nodes.at(*node).info.size_bytes)
      co_return make_error(Code::kInvalidArgument, "past the end");
    Payload whole;
    whole.number(payload.take_number()).number(*node);
    Payload rest = whole.number(offset);
    if (const auto bytes = payload.bytes().subspan(8); bytes.size() == 8)
      rest.number(payload.take_number());
    else
      rest.text(payload.take_bytes());
    if (!logged) {
      apply(rest);
      co_return Status();
    }
    if (g_flaw == ToyFlaw::kEarlyAnswer && !fua) {
      spawn(commit_late(std::move(rest)));
      co_return Status();
    }
    HOZON_CO_CHECK(commit(rest));
    if (fua) co_return co_await sync();
    co_return Status();
  }
  Task<void> commit_late(Payload payload) {
    apply(Payload({payload.bytes().begin(), payload.bytes().end()}));
    co_await dawdle();
    (void)commit(payload);
  }

  Executor& executor_;
  Device& data_;
  Device& journal_;
  std::map<uint64_t, VolumeInfo> volumes;
  std::map<uint64_t, Node> nodes;
  uint64_t next_id = 1;

 private:
  uint64_t tail_ = 0;
  uint32_t chain_ = 0;
  bool failed_ = false;  // a write or sync failed: nothing is believed any more
};

Pool::Pool(std::unique_ptr<PoolCore> core) : core_(std::move(core)) {}
Pool::~Pool() = default;

Task<Status> Pool::create(Device&, Device& journal, CreateOptions) {
  AlignedBuffer zeros(kBlockSize);
  std::memset(zeros.data(), 0, zeros.size());
  if (co_await journal.write(0, zeros.span()) != 0 || co_await journal.sync() != 0)
    co_return make_error(Code::kIo, "create");
  co_return Status();
}
Task<Result<std::unique_ptr<Pool>>> Pool::open(Executor& executor, Device& data, Device& journal,
                                               OpenOptions) {
  auto core = std::make_unique<PoolCore>(executor, data, journal);
  HOZON_CO_CHECK(co_await core->replay());
  // What a kill left in the page cache is built on from here.
  HOZON_CO_CHECK(co_await core->sync());
  co_return std::unique_ptr<Pool>(new Pool(std::move(core)));
}
Task<Status> Pool::close() { co_return co_await core_->sync(); }

Task<Result<VolumeInfo>> Pool::create_volume(std::string name, uint64_t size_bytes) {
  if (core_->volume_id(name)) co_return make_error(Code::kAlreadyExists, "'{}' exists", name);
  Payload payload;
  payload.number(static_cast<uint64_t>(Op::kCreate)).text(name).number(size_bytes);
  HOZON_CO_CHECK(co_await core_->commit_durably(payload));
  co_return volume(name);
}
Task<Status> Pool::resize_volume(std::string name, uint64_t size_bytes, bool) {
  HOZON_CO_TRY(const uint64_t id, core_->volume_id(name));
  const Node& head = core_->nodes.at(core_->volumes.at(id).head_point_id);
  for (const auto& [index, block] : head.blocks)
    for (size_t i = 0; i < kBlockSize; ++i)
      if (index * kBlockSize + i >= size_bytes && (*block)[i] != std::byte{0})
        co_return make_error(Code::kWrongState, "'{}' has data past its new end", name);
  Payload payload;
  payload.number(static_cast<uint64_t>(Op::kResize)).number(id).number(size_bytes);
  co_return co_await core_->commit_durably(payload);
}
Task<Status> Pool::rename_volume(std::string name, std::string new_name) {
  HOZON_CO_TRY(const uint64_t id, core_->volume_id(name));
  Payload payload;
  payload.number(static_cast<uint64_t>(Op::kRename)).number(id).text(new_name);
  co_return co_await core_->commit_durably(payload);
}
Task<Status> Pool::delete_volume(std::string name, bool with_points) {
  HOZON_CO_TRY(const uint64_t id, core_->volume_id(name));
  if (!with_points && !points(name)->empty())
    co_return make_error(Code::kWrongState, "'{}' has snapshots", name);
  Payload payload;
  payload.number(static_cast<uint64_t>(Op::kDelete)).number(id);
  co_return co_await core_->commit_durably(payload);
}
Task<Result<std::vector<PointInfo>>> Pool::snapshot(std::vector<std::string> names,
                                                    std::string point_name) {
  std::vector<uint64_t> ids;
  for (const std::string& name : names) {
    HOZON_CO_TRY(const uint64_t id, core_->volume_id(name));
    ids.push_back(id);
  }
  const bool one_by_one = g_flaw == ToyFlaw::kSnapshotOneByOne;
  for (size_t i = 0; i < ids.size(); i += one_by_one ? 1 : ids.size()) {
    Payload payload;
    payload.number(static_cast<uint64_t>(Op::kSnapshot)).text(point_name);
    payload.number(one_by_one ? 1 : ids.size());
    for (size_t j = i; j < (one_by_one ? i + 1 : ids.size()); ++j) payload.number(ids[j]);
    HOZON_CO_CHECK(core_->commit(payload));
    if (one_by_one) co_await core_->dawdle();
  }
  HOZON_CO_CHECK(co_await core_->sync());
  std::vector<PointInfo> made;
  for (const std::string& name : names)
    made.push_back(core_->nodes.at(*core_->point_id(name, point_name)).info);
  co_return made;
}
Task<Result<VolumeInfo>> Pool::clone(std::string volume_name, std::string point, std::string name) {
  if (core_->volume_id(name)) co_return make_error(Code::kAlreadyExists, "'{}' exists", name);
  HOZON_CO_TRY(const uint64_t id, core_->point_id(volume_name, point));
  Payload payload;
  payload.number(static_cast<uint64_t>(Op::kClone)).number(id).text(name);
  HOZON_CO_CHECK(co_await core_->commit_durably(payload));
  co_return volume(name);
}
Task<Status> Pool::return_to(std::vector<ReturnItem> items, std::string keep_name) {
  Payload payload;
  payload.number(static_cast<uint64_t>(Op::kReturn)).text(keep_name).number(items.size());
  for (const ReturnItem& item : items) {
    HOZON_CO_TRY(const uint64_t volume, core_->volume_id(item.volume));
    HOZON_CO_TRY(const uint64_t point, core_->point_id(item.point_volume, item.point));
    payload.number(volume).number(point);
  }
  co_return co_await core_->commit_durably(payload);
}
Task<Status> Pool::delete_point(std::string volume, std::string point) {
  HOZON_CO_TRY(const uint64_t id, core_->point_id(volume, point));
  Payload payload;
  payload.number(static_cast<uint64_t>(Op::kDeletePoint)).number(id);
  co_return co_await core_->commit_durably(payload);
}
Task<Status> Pool::rename_point(std::string volume, std::string point, std::string new_name) {
  HOZON_CO_TRY(const uint64_t id, core_->point_id(volume, point));
  Payload payload;
  payload.number(static_cast<uint64_t>(Op::kRenamePoint)).number(id).text(new_name);
  co_return co_await core_->commit_durably(payload);
}

std::vector<VolumeInfo> Pool::volumes() const {
  std::vector<VolumeInfo> all;
  for (const auto& [id, info] : core_->volumes) all.push_back(info);
  return all;
}
Result<VolumeInfo> Pool::volume(std::string_view name) const {
  return core_->volumes.at(HOZON_TRY(core_->volume_id(name)));
}
Result<std::vector<PointInfo>> Pool::points(std::string_view volume, bool all) const {
  const uint64_t owner = HOZON_TRY(core_->volume_id(volume));
  std::vector<PointInfo> found;
  for (const auto& [id, node] : core_->nodes)
    if (node.info.volume_id == owner && (all || node.info.kind == PointKind::kSnapshot))
      found.push_back(node.info);
  return found;
}
std::vector<PointInfo> Pool::ancestors(uint64_t point_id) const {
  std::vector<PointInfo> found;
  for (auto node = core_->nodes.find(point_id); node != core_->nodes.end();) {
    node = core_->nodes.find(node->second.info.parent_id);
    if (node != core_->nodes.end()) found.push_back(node->second.info);
  }
  return found;
}
Result<Target> Pool::target(std::string_view volume, std::string_view point) const {
  const uint64_t owner = HOZON_TRY(core_->volume_id(volume));
  const uint64_t id = HOZON_TRY(core_->point_id(volume, point));
  return Target{owner, point.empty() ? 0 : id};
}
Result<uint64_t> Pool::size_bytes(Target target) const {
  return core_->nodes.at(HOZON_TRY(core_->node_of(target))).info.size_bytes;
}

Task<Status> Pool::read(Target target, uint64_t offset, std::span<std::byte> into) {
  co_await core_->dawdle();
  HOZON_CO_TRY(const uint64_t id, core_->node_of(target));
  const Node& node = core_->nodes.at(id);
  if (offset + into.size() > node.info.size_bytes)
    co_return make_error(Code::kInvalidArgument, "past the end");
  for (size_t done = 0; done < into.size();) {
    const uint64_t at = offset + done, inside = at % kBlockSize;
    const size_t size = std::min<size_t>(into.size() - done, kBlockSize - inside);
    const auto block = node.blocks.find(at / kBlockSize);
    if (block == node.blocks.end())
      std::memset(into.data() + done, 0, size);
    else
      std::memcpy(into.data() + done, block->second->data() + inside, size);
    done += size;
  }
  co_return Status();
}
Task<Status> Pool::write(Target target, uint64_t offset, std::span<const std::byte> from,
                         bool fua) {
  Payload payload;
  payload.number(static_cast<uint64_t>(Op::kWrite)).text(from);
  co_return co_await core_->modify(target, offset, from.size(), payload, fua, true);
}
Task<Status> Pool::write_zeroes(Target target, uint64_t offset, uint64_t length, bool fua) {
  Payload payload;
  payload.number(static_cast<uint64_t>(Op::kZero)).number(length);
  co_return co_await core_->modify(target, offset, length, payload, fua, true);
}
Task<Status> Pool::discard(Target target, uint64_t offset, uint64_t length, bool fua) {
  Payload payload;
  payload.number(static_cast<uint64_t>(Op::kZero)).number(length);
  co_return co_await core_->modify(target, offset, length, payload, fua,
                                   g_flaw != ToyFlaw::kForgetsDiscard);
}
Task<Status> Pool::flush() {
  if (g_flaw == ToyFlaw::kFlushWithoutSync) co_return Status();
  co_return co_await core_->sync();
}
Task<Result<std::vector<Extent>>> Pool::block_status(Target, uint64_t, uint64_t length, uint32_t) {
  co_return std::vector<Extent>{{length, true, true}};
}
Task<Result<std::vector<Extent>>> Pool::changed_status(Target, Target, uint64_t, uint64_t length,
                                                       uint32_t) {
  co_return std::vector<Extent>{{length, true, true}};
}
PoolStats Pool::stats() const {
  PoolStats stats;
  stats.size_bytes = stats.free_bytes = core_->data_.size_bytes();
  return stats;
}
Task<Result<uint64_t>> Pool::exclusive_bytes(std::string, std::string) { co_return 0; }
Task<Result<std::vector<std::optional<uint64_t>>>> Pool::exclusive_bytes(
    std::string, std::vector<std::string> points) {
  co_return std::vector<std::optional<uint64_t>>(points.size(), 0);
}
Task<Result<uint64_t>> Pool::mapped_bytes(Target) { co_return 0; }
Task<Status> Pool::checkpoint() { co_return co_await core_->sync(); }
Task<Status> Pool::drain_reclaim() { co_return Status(); }
Task<Result<DefragmentReport>> Pool::defragment(std::string, uint64_t, uint64_t) {
  co_return DefragmentReport{};
}
Task<Result<CheckReport>> Pool::check(bool) {
  CheckReport report;
  report.data_blocks = UINT64_MAX;
  co_return report;
}
void Pool::on_event(std::function<void(const PoolStats&)>) {}

}  // namespace hozon::store

namespace hozon::sim {
void set_toy_flaw(ToyFlaw flaw) { store::g_flaw = flaw; }
}  // namespace hozon::sim
