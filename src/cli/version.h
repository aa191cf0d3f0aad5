// src/cli/version.h
// The version that `hozon version` shows. The API tells its own (api/api.h).
#pragma once

#include <string_view>

namespace hozon::cli {

inline constexpr std::string_view kVersion = "0.1.0";

}  // namespace hozon::cli
