// src/control/migration.h
// The few QMP calls around QEMU's migration that saving and settling share.
#pragma once

#include <string>

#include "qemu/qmp.h"

namespace hozon::control {

// Empty when the object has no such text.
std::string text_member(const nlohmann::json& object, const char* name);
Status set_capabilities(QmpClient& qmp, bool background);
// "none", "active", "completed", ...
Result<std::string> migration_status(QmpClient& qmp, int timeout_ms = kQmpTimeoutMs);
bool is_saving(const std::string& status);
// `cont` after a save. A save says that it is complete a little before QEMU can go on.
Status continue_after_save(QmpClient& qmp, int timeout_ms);

}  // namespace hozon::control
