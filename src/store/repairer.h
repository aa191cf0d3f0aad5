// src/store/repairer.h
// Repairs of a pool that nobody has open what can be repaired without guessing: the bitmap, since
// the trees say which blocks are in use, and a superblock slot, since the other one holds the same.
//
// Nothing is written unless there is something to repair. Damaged nodes and data are never touched;
// while a map node is damaged, what hangs below it is not known, and no block that the bitmap marks
// as used is given back. The repaired bitmap goes to the disk as every change does: by a
// checkpoint. Threading: the pool's thread.
#pragma once

#include "base/result.h"
#include "base/task.h"
#include "io/device.h"
#include "store/pool.h"

namespace hozon::store {

// kCorruption: the pool cannot be opened, so nothing was changed.
Task<Result<RepairReport>> repair_pool(Executor& executor, Device& data, Device& journal);

}  // namespace hozon::store
