#include "client/types.h"

#include <fmt/format.h>

namespace hozon::client {
namespace {

const Json* find(const Json& object, const char* member) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(member);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

std::optional<uint64_t> optional_number_of(const Json& object, const char* member) {
  const Json* found = find(object, member);
  if (found == nullptr || !found->is_number_integer()) return std::nullopt;
  if (!found->is_number_unsigned() && found->get<int64_t>() < 0) return std::nullopt;
  return found->get<uint64_t>();
}

const Json& array_of(const Json& object, const char* member) {
  static const Json kNone = Json::array();
  const Json* found = find(object, member);
  return found != nullptr && found->is_array() ? *found : kNone;
}

}  // namespace

Status refusal_of(const Json& plan) {
  const auto refusal = plan.find("refusal");
  if (refusal == plan.end() || !refusal->is_object()) return {};
  return std::unexpected(
      Error{code_from_name(text_of(*refusal, "code")), text_of(*refusal, "message")});
}

std::string text_of(const Json& object, const char* member) {
  const Json* found = find(object, member);
  return found != nullptr && found->is_string() ? found->get<std::string>() : "";
}

uint64_t number_of(const Json& object, const char* member) {
  return optional_number_of(object, member).value_or(0);
}

bool flag_of(const Json& object, const char* member) {
  const Json* found = find(object, member);
  return found != nullptr && found->is_boolean() && found->get<bool>();
}

std::vector<std::string> texts_of(const Json& object, const char* member) {
  std::vector<std::string> texts;
  for (const Json& item : array_of(object, member))
    if (item.is_string()) texts.push_back(item.get<std::string>());
  return texts;
}

namespace {

// {"object": "volume 'web'", "offset_bytes": ..., "touched": [{"volume", "point"}], "machines": []}
std::string damage_text(const Json& place) {
  std::string text = text_of(place, "object");
  const uint64_t first = number_of(place, "offset_bytes");
  if (!text_of(place, "volume").empty())
    text += fmt::format(", bytes {}..{}", first, first + number_of(place, "length_bytes"));
  text += ": " + text_of(place, "what");
  std::string touched;
  for (const Json& one : array_of(place, "touched")) {
    const std::string point = text_of(one, "point");
    touched +=
        (touched.empty() ? "" : ", ") + text_of(one, "volume") + (point.empty() ? "" : "@" + point);
  }
  if (const uint64_t more = number_of(place, "touched_left_out"); more > 0)
    touched += fmt::format(" and {} more", more);
  if (!touched.empty()) text += "; touches " + touched;
  const std::vector<std::string> machines = texts_of(place, "machines");
  if (!machines.empty()) text += fmt::format("; machine {}", fmt::join(machines, ", "));
  return text;
}

std::vector<std::string> damage_texts(const Json& object, const char* member) {
  std::vector<std::string> texts;
  for (const Json& place : array_of(object, member)) texts.push_back(damage_text(place));
  return texts;
}

}  // namespace

PoolScrub::PoolScrub(Json object)
    : json(std::move(object)),
      state(text_of(json, "state")),
      failure(text_of(json, "failure")),
      done_bytes(number_of(json, "done_bytes")),
      points(number_of(json, "points")),
      metadata_blocks(number_of(json, "metadata_blocks")),
      map_blocks(number_of(json, "map_blocks")),
      data_blocks(number_of(json, "data_blocks")),
      damaged(damage_texts(json, "damaged")),
      damaged_left_out(number_of(json, "damaged_left_out")) {}

Pool::Pool(Json object)
    : json(std::move(object)),
      name(text_of(json, "name")),
      state(text_of(json, "state")),
      message(text_of(json, "message")),
      size_bytes(number_of(json, "size_bytes")),
      used_bytes(number_of(json, "used_bytes")),
      free_bytes(number_of(json, "free_bytes")),
      volumes(number_of(json, "volumes")),
      points(number_of(json, "points")),
      damage(damage_texts(json, "damage")) {}

PoolCheck::PoolCheck(Json object)
    : json(std::move(object)),
      clean(flag_of(json, "clean")),
      errors(texts_of(json, "errors")),
      warnings(texts_of(json, "warnings")),
      points(number_of(json, "points")),
      map_blocks(number_of(json, "map_blocks")),
      data_blocks(number_of(json, "data_blocks")),
      lost_blocks(number_of(json, "lost_blocks")) {}

Volume::Volume(Json object)
    : json(std::move(object)),
      name(text_of(json, "name")),
      pool(text_of(json, "pool")),
      uri(text_of(json, "uri")),
      machine(text_of(json, "machine")),
      size_bytes(number_of(json, "size_bytes")),
      created_ns(number_of(json, "created_ns")),
      point_count(number_of(json, "point_count")),
      mapped_bytes(optional_number_of(json, "mapped_bytes")) {}

Point::Point(Json object)
    : json(std::move(object)),
      name(text_of(json, "name")),
      kind(text_of(json, "kind")),
      snapshot(text_of(json, "snapshot")),
      size_bytes(number_of(json, "size_bytes")),
      created_ns(number_of(json, "created_ns")) {}

Machine::Machine(Json object)
    : json(std::move(object)),
      uuid(text_of(json, "uuid")),
      name(text_of(json, "name")),
      description(text_of(json, "description")),
      pool(text_of(json, "pool")),
      state(text_of(json, "state")),
      state_reason(text_of(json, "state_reason")),
      accelerator(text_of(json, "accelerator")),
      append(text_of(json, "append")),
      current_parent(text_of(json, "current_parent")),
      current_parent_name(text_of(json, "current_parent_name")),
      console_socket(text_of(json, "console_socket")),
      console_log(text_of(json, "console_log")),
      machine_type(text_of(json, "machine_type")),
      memory_bytes(number_of(json, "memory_bytes")),
      cpus(number_of(json, "cpus")),
      snapshot_count(number_of(json, "snapshot_count")),
      created_ns(number_of(json, "created_ns")),
      started_ns(number_of(json, "started_ns")),
      pid(number_of(json, "pid")),
      live_memory_obstacles(texts_of(json, "live_memory_obstacles")) {
  if (const auto found = json.find("preview"); found != json.end() && found->is_object())
    preview = text_of(*found, "snapshot");
  for (const Json& disk : array_of(json, "disks"))
    disks.push_back({text_of(disk, "id"), text_of(disk, "volume"), text_of(disk, "pool"),
                     number_of(disk, "size_bytes"), flag_of(disk, "attached")});
  for (const Json& nic : array_of(json, "nics")) macs.push_back(text_of(nic, "mac"));
  if (const Json* lock = find(json, "lock"))
    locked_by = fmt::format("{} (job {})", text_of(*lock, "reason"), number_of(*lock, "job"));
}

Snapshot::Snapshot(Json object)
    : json(std::move(object)),
      uuid(text_of(json, "uuid")),
      name(text_of(json, "name")),
      description(text_of(json, "description")),
      kind(text_of(json, "kind")),
      status(text_of(json, "status")),
      parent(text_of(json, "parent")),
      parent_name(text_of(json, "parent_name")),
      machine_state(text_of(json, "machine_state")),
      is_current(flag_of(json, "is_current")),
      created_ns(number_of(json, "created_ns")),
      exclusive_bytes(optional_number_of(json, "exclusive_bytes")) {
  consistency = text_of(json, "consistency");
  consistency_reason = text_of(json, "consistency_reason");
  if (const Json* memory = find(json, "memory")) {
    has_memory = true;
    memory_mode = text_of(*memory, "mode");
    memory_mode_reason = text_of(*memory, "mode_reason");
    stop_us = number_of(*memory, "stop_us");
    ram_bytes = number_of(*memory, "ram_bytes");
    written_bytes = number_of(*memory, "written_bytes");
    stream_bytes = number_of(*memory, "stream_bytes");
    zero_pages = number_of(*memory, "zero_pages");
    unchanged_pages = number_of(*memory, "unchanged_pages");
    duration_us = number_of(*memory, "duration_us");
  }
  for (const Json& disk : array_of(json, "disks")) disks.push_back(text_of(disk, "disk"));
  tags = texts_of(json, "tags");
  pinned = flag_of(json, "pinned");
  pin_reason = text_of(json, "pin_reason");
  expires_ns = number_of(json, "expires_ns");
  trashed_ns = number_of(json, "trashed_ns");
  trash_until_ns = number_of(json, "trash_until_ns");
}

Job::Job(Json from)
    : json(std::move(from)),
      id(number_of(json, "id")),
      progress_done(number_of(json, "progress_done")),
      progress_total(number_of(json, "progress_total")),
      created_ns(number_of(json, "created_ns")),
      ended_ns(number_of(json, "ended_ns")),
      steps_done(number_of(json, "steps_done")),
      steps_total(number_of(json, "steps_total")),
      eta_ms(optional_number_of(json, "eta_ms")),
      kind(text_of(json, "kind")),
      object(text_of(json, "object")),
      owner(text_of(json, "owner")),
      state(text_of(json, "state")),
      step(text_of(json, "step")) {
  if (const Json* error = find(json, "error")) {
    error_code = text_of(*error, "code");
    error_message = text_of(*error, "message");
  }
}

}  // namespace hozon::client
