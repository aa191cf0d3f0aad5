// src/store/damage_finder.h
// Gives damage its names: which bytes of which volume, and which points hold the place.
//
// By connected sharing the points that hold a block at an address are connected in the history, so
// they are found by going from neighbour to neighbour. Threading: the pool's thread.
#pragma once

#include <string>

#include "base/task.h"
#include "store/pool.h"
#include "store/types.h"

namespace hozon::store {

class PoolCore;

// A block that failed, as the walk that met it knows it.
struct DamagedBlock {
  uint64_t point_id = 0;
  std::string point_name;  // in case the point is gone by now
  uint8_t level = 0;       // 0: data, else a map node of that level
  uint64_t index = 0;      // of the first volume block that it covers
  uint64_t block = 0;
  std::string reason;  // "is damaged (checksum differs)"
};

Task<DamagedPlace> name_damage(PoolCore& core, DamagedBlock found);

// After an operation on these bytes has failed with `error`: finds out which blocks are damaged and
// notes them in the pool's DamageLog. An error that is not about damage is none of its business.
Task<void> note_damage(PoolCore& core, Target target, uint64_t offset, uint64_t length,
                       Error error);

}  // namespace hozon::store
