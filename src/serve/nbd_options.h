// src/serve/nbd_options.h
// Reads what clients send as option data during the handshake. Pure functions over hostile bytes:
// every length is checked against what is there.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace hozon::serve::nbd {

// NBD_OPT_INFO and NBD_OPT_GO.
struct InfoRequest {
  std::string name;
  std::vector<uint16_t> wanted;  // InfoType numbers, unknown ones included
};
// kInvalidArgument: malformed. kResourceExhausted: well-formed, but longer than the limits.
Result<InfoRequest> parse_info_request(std::span<const std::byte> data);

// NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT.
struct ContextRequest {
  std::string name;
  std::vector<std::string> queries;
};
Result<ContextRequest> parse_context_request(std::span<const std::byte> data);

}  // namespace hozon::serve::nbd
