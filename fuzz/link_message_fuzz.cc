// Hostile lines on the link socket: what decodes survives encoding, and nothing throws.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "link/protocol.h"

namespace {

using namespace hozon;

// A value that was read must read the same after it was written.
template <typename Decode>
void check_value(const nlohmann::json& json, Decode decode) {
  const auto value = decode(json);
  if (!value) return;
  const auto again = decode(link::encode(*value));
  HOZON_CHECK(again && *again == *value);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view line(reinterpret_cast<const char*>(data), size);
  (void)link::decode_answer(line, 1);
  const auto request = link::decode_request(line);
  if (!request) return 0;
  const nlohmann::json& json = request->parameters;
  check_value(json, link::decode_volume);
  check_value(json, link::decode_point);
  check_value(json, link::decode_pool_stats);
  check_value(json, link::decode_check_report);
  check_value(json, link::decode_return_item);
  (void)link::strings_field(json, "volumes");
  (void)link::bool_field_or(json, "data", false);
  (void)link::u64_field_or(json, "size_bytes", 0);
  const auto again = link::decode_request(link::encode_request(request->id, request->op, json));
  HOZON_CHECK(again && again->op == request->op);
  return 0;
}
