// tests/sim/status_audit.h
// Compares what a pool says about its blocks with the model: unmapped blocks are zeros, and blocks
// that differ from a point's or head's nearest snapshot above are called changed (the base of
// incremental backup). More may be called mapped or changed than is.
#pragma once

#include <string>

#include "model.h"
#include "store/pool.h"

namespace hozon::sim {

// The model has been settled. Empty, or the first contradiction.
Task<std::string> audit_status(store::Pool& pool, const Model& model);

}  // namespace hozon::sim
