// src/control/sim_pool.h
// For tests: a pool without disks that answers on a real link socket.
//
// It knows which block every volume and point has at which address. So what they hold, what they
// share, and what a deletion gives back can be asked for, and every call that changed something is
// kept in order. A block is counted by its identity: two writes of one text are two blocks.
// Threading: any thread; calls are answered one after the other.
#pragma once

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "link/protocol.h"
#include "link/unix_socket.h"

namespace hozon::control {

class SimPool {
 public:
  static constexpr uint64_t kBlockBytes = 4096;
  using json = nlohmann::json;

  explicit SimPool(const std::string& socket_path)
      : listener_(*link::listen_unix(socket_path)), stop_(::eventfd(0, EFD_CLOEXEC)) {
    thread_ = std::thread([this] { run(); });
  }
  ~SimPool() {
    ::eventfd_write(stop_.get(), 1);
    thread_.join();
  }
  SimPool(const SimPool&) = delete;
  SimPool& operator=(const SimPool&) = delete;

  void create(const std::string& volume, uint64_t size_bytes) {
    const std::lock_guard guard(mutex_);
    volumes_[volume] = {++last_id_, size_bytes, {}, {}};
  }
  void write(const std::string& volume, uint64_t address, const std::string& text) {
    const std::lock_guard guard(mutex_);
    volumes_.at(volume).head[address] = std::make_shared<const std::string>(text);
  }
  // "" where nothing was written; "gone" when there is no such volume or point.
  std::string read(const std::string& volume, uint64_t address, const std::string& point = {}) {
    const std::lock_guard guard(mutex_);
    const Blocks* const blocks = blocks_of(volume, point);
    if (blocks == nullptr) return "gone";
    const auto block = blocks->find(address);
    return block == blocks->end() ? "" : *block->second;
  }
  std::vector<std::string> volumes() {
    const std::lock_guard guard(mutex_);
    std::vector<std::string> names;
    for (const auto& [name, volume] : volumes_) names.push_back(name);
    return names;
  }
  std::vector<std::string> points(const std::string& volume) {
    const std::lock_guard guard(mutex_);
    std::vector<std::string> names;
    for (const auto& [name, point] : volumes_.at(volume).points) names.push_back(name);
    return names;
  }
  uint64_t used_bytes() {
    const std::lock_guard guard(mutex_);
    return kBlockBytes * blocks_without({}).size();
  }
  // The parameters of the calls of that kind that changed something, in their order.
  std::vector<json> calls(const std::string& op) {
    const std::lock_guard guard(mutex_);
    std::vector<json> found;
    for (const auto& [name, parameters] : calls_)
      if (name == op) found.push_back(parameters);
    return found;
  }

 private:
  using Blocks = std::map<uint64_t, std::shared_ptr<const std::string>>;
  struct Point {
    uint64_t id = 0, set_id = 0;
    Blocks blocks;
  };
  struct Volume {
    uint64_t id = 0, size_bytes = 0;
    Blocks head;
    std::map<std::string, Point> points;
  };
  using Name = std::pair<std::string, std::string>;  // of a point; "": the head

  void run() {
    for (;;) {
      std::array<pollfd, 2> wait = {{{listener_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}}};
      if (::poll(wait.data(), wait.size(), -1) < 0) continue;
      if (wait[1].revents != 0) return;
      serve(Fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)));
    }
  }
  void serve(const Fd& peer) {
    std::string text;
    for (std::array<char, 65536> part{};;) {
      std::array<pollfd, 2> wait = {{{peer.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}}};
      if (::poll(wait.data(), wait.size(), -1) < 0) continue;
      if (wait[1].revents != 0) return;
      const ssize_t got = ::recv(peer.get(), part.data(), part.size(), 0);
      if (got <= 0) return;
      text.append(part.data(), static_cast<size_t>(got));
      for (size_t end = 0; (end = text.find('\n')) != std::string::npos; text.erase(0, end + 1)) {
        const auto request = link::decode_request(text.substr(0, end));
        if (!request) return;
        const std::string said = link::encode_answer(request->id, answer(*request));
        if (::send(peer.get(), said.data(), said.size(), MSG_NOSIGNAL) < 0) return;
      }
    }
  }

  Result<json> answer(const link::Request& request) {
    const std::lock_guard guard(mutex_);
    const json& about = request.parameters;
    const std::string& op = request.op;
    Result<json> done = make_error(Code::kUnimplemented, "a simulated pool has no '{}'", op);
    if (op == "pool.stats") return link::encode(stats());
    if (op == "pool.checkpoint") return json::object();
    if (op == "volume.list") return volume_list();
    if (op == "volume.show") return volume_show(text(about, "name"));
    if (op == "volume.mapped") return mapped(about);
    if (op == "point.list") return point_list(text(about, "volume"));
    if (op == "point.exclusive") return exclusive(about);
    if (op == "points.freed") return freed(about);
    if (op == "volume.create") done = volume_create(about);
    if (op == "volume.delete") done = volume_delete(about);
    if (op == "volume.snapshot") done = snapshot(about);
    if (op == "volume.clone") done = clone(about);
    if (op == "volume.return") done = return_to(about);
    if (op == "point.delete") done = point_delete(about);
    if (done) calls_.emplace_back(op, about);
    return done;
  }

  link::PoolStats stats() const {
    link::PoolStats stats;
    stats.pool_id = std::string(32, '0');
    stats.size_bytes = uint64_t{1} << 30;
    stats.live_bytes = kBlockBytes * blocks_without({}).size();
    stats.free_bytes = stats.size_bytes - stats.live_bytes;
    stats.volumes = volumes_.size();
    return stats;
  }
  static link::VolumeInfo info(const std::string& name, const Volume& volume) {
    link::VolumeInfo info;
    info.id = volume.id;
    info.name = name;
    info.size_bytes = volume.size_bytes;
    info.snapshot_count = volume.points.size();
    return info;
  }
  static link::PointInfo info(const std::string& name, const Point& point, const Volume& volume) {
    link::PointInfo info;
    info.id = point.id;
    info.volume_id = volume.id;
    info.kind = "snapshot";
    info.name = name;
    info.size_bytes = volume.size_bytes;
    info.set_id = point.set_id;
    return info;
  }
  static std::unexpected<Error> no_volume(const std::string& name) {
    return make_error(Code::kNotFound, "volume '{}' does not exist", name);
  }
  static std::unexpected<Error> no_point(const std::string& volume, const std::string& point) {
    return make_error(Code::kNotFound, "volume '{}' has no point '{}'", volume, point);
  }
  static std::unexpected<Error> exists_already(const std::string& volume,
                                               const std::string& point) {
    return make_error(Code::kAlreadyExists, "volume '{}' has a point '{}'", volume, point);
  }
  static std::string text(const json& about, const char* name) { return about.value(name, ""); }
  // Null when there is no such volume or point.
  const Blocks* blocks_of(const std::string& volume, const std::string& point) const {
    const auto found = volumes_.find(volume);
    if (found == volumes_.end()) return nullptr;
    if (point.empty()) return &found->second.head;
    const auto named = found->second.points.find(point);
    return named == found->second.points.end() ? nullptr : &named->second.blocks;
  }
  std::set<const std::string*> blocks_without(const std::set<Name>& left_out) const {
    std::set<const std::string*> blocks;
    const auto add = [&](const Name& name, const Blocks& of) {
      if (left_out.contains(name)) return;
      for (const auto& [address, block] : of) blocks.insert(block.get());
    };
    for (const auto& [name, volume] : volumes_) {
      add({name, ""}, volume.head);
      for (const auto& [point, kept] : volume.points) add({name, point}, kept.blocks);
    }
    return blocks;
  }
  uint64_t freed_bytes(const std::set<Name>& names) const {
    return kBlockBytes * (blocks_without({}).size() - blocks_without(names).size());
  }

  Result<json> volume_list() const {
    std::vector<link::VolumeInfo> all;
    for (const auto& [name, volume] : volumes_) all.push_back(info(name, volume));
    return json{{"volumes", link::encode(all)}};
  }
  Result<json> volume_show(const std::string& name) const {
    const auto found = volumes_.find(name);
    if (found == volumes_.end()) return no_volume(name);
    return link::encode(info(name, found->second));
  }
  Result<json> mapped(const json& about) const {
    const std::string volume = text(about, "volume"), point = text(about, "point");
    const Blocks* const blocks = blocks_of(volume, point);
    if (blocks == nullptr) return no_point(volume, point);
    return json{{"bytes", kBlockBytes * blocks->size()}};
  }
  Result<json> point_list(const std::string& name) const {
    const auto found = volumes_.find(name);
    if (found == volumes_.end()) return no_volume(name);
    std::vector<link::PointInfo> all;
    for (const auto& [point, kept] : found->second.points)
      all.push_back(info(point, kept, found->second));
    return json{{"points", link::encode(all)}};
  }
  Result<json> exclusive(const json& about) const {
    const std::string volume = text(about, "volume"), point = text(about, "point");
    if (blocks_of(volume, point) == nullptr) return no_point(volume, point);
    return json{{"bytes", freed_bytes({{volume, point}})}};
  }
  Result<json> freed(const json& about) const {
    std::set<Name> names;
    for (const json& pair : about.at("points"))
      names.emplace(pair.at(0).get<std::string>(), pair.at(1).get<std::string>());
    for (const std::string name : about.at("volumes")) {
      const auto found = volumes_.find(name);
      if (found == volumes_.end()) return no_volume(name);
      names.emplace(name, "");
      for (const auto& [point, kept] : found->second.points) names.emplace(name, point);
    }
    for (const auto& [volume, point] : names)
      if (blocks_of(volume, point) == nullptr) return no_point(volume, point);
    return json{{"data_bytes", freed_bytes(names)}, {"map_bytes", 0}};
  }

  Result<json> volume_create(const json& about) {
    const std::string name = text(about, "name");
    if (volumes_.contains(name))
      return make_error(Code::kAlreadyExists, "a volume named '{}' exists", name);
    volumes_[name] = {++last_id_, about.at("size_bytes").get<uint64_t>(), {}, {}};
    return volume_show(name);
  }
  Result<json> volume_delete(const json& about) {
    const auto found = volumes_.find(text(about, "name"));
    if (found == volumes_.end()) return no_volume(text(about, "name"));
    if (!found->second.points.empty() && !about.value("with_points", false))
      return make_error(Code::kWrongState, "volume '{}' has points", found->first);
    volumes_.erase(found);
    return json::object();
  }
  // All or none, and one set.
  Result<json> snapshot(const json& about) {
    const std::string point = text(about, "point");
    for (const std::string name : about.at("volumes")) {
      const auto found = volumes_.find(name);
      if (found == volumes_.end()) return no_volume(name);
      if (found->second.points.contains(point)) return exists_already(name, point);
    }
    std::vector<link::PointInfo> made;
    const uint64_t set = ++last_id_;
    for (const std::string name : about.at("volumes")) {
      Volume& volume = volumes_.at(name);
      volume.points[point] = {++last_id_, set, volume.head};
      made.push_back(info(point, volume.points[point], volume));
    }
    return json{{"points", link::encode(made)}};
  }
  Result<json> clone(const json& about) {
    const std::string name = text(about, "new_name"), volume = text(about, "volume");
    const Blocks* const blocks = blocks_of(volume, text(about, "point"));
    if (blocks == nullptr) return no_point(volume, text(about, "point"));
    if (volumes_.contains(name))
      return make_error(Code::kAlreadyExists, "a volume named '{}' exists", name);
    Volume made{++last_id_, volumes_.at(volume).size_bytes, *blocks, {}};
    volumes_[name] = std::move(made);
    return volume_show(name);
  }
  // All or none.
  Result<json> return_to(const json& about) {
    const std::string keep = text(about, "keep");
    for (const json& item : about.at("items")) {
      const auto found = volumes_.find(text(item, "volume"));
      if (found == volumes_.end()) return no_volume(text(item, "volume"));
      if (found->second.points.contains(keep)) return exists_already(found->first, keep);
      if (blocks_of(text(item, "point_volume"), text(item, "point")) == nullptr)
        return no_point(text(item, "point_volume"), text(item, "point"));
    }
    const uint64_t set = ++last_id_;
    for (const json& item : about.at("items")) {
      Volume& volume = volumes_.at(text(item, "volume"));
      const Blocks wanted = *blocks_of(text(item, "point_volume"), text(item, "point"));
      if (!keep.empty()) volume.points[keep] = {++last_id_, set, volume.head};
      volume.head = wanted;
    }
    return json::object();
  }
  Result<json> point_delete(const json& about) {
    const auto found = volumes_.find(text(about, "volume"));
    if (found == volumes_.end()) return no_volume(text(about, "volume"));
    if (found->second.points.erase(text(about, "point")) == 0)
      return no_point(found->first, text(about, "point"));
    return json::object();
  }

  Fd listener_, stop_;
  std::mutex mutex_;
  std::map<std::string, Volume> volumes_;
  std::vector<std::pair<std::string, json>> calls_;
  uint64_t last_id_ = 0;
  std::thread thread_;
};

}  // namespace hozon::control
