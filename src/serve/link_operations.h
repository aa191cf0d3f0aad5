// src/serve/link_operations.h
// What the control plane may ask of a pool (src/link/protocol.h says in which words).
#pragma once

#include "base/task.h"
#include "link/protocol.h"
#include "store/pool.h"

namespace hozon::serve {

// Carries out one request; the result is its "result" object. kUnimplemented for an unknown op.
Task<Result<nlohmann::json>> run_operation(store::Pool& pool, link::Request request);

}  // namespace hozon::serve
