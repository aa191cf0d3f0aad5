#include "serve/nbd_options.h"

#include <cstring>

#include "base/bytes.h"
#include "serve/nbd_protocol.h"

namespace hozon::serve::nbd {
namespace {

class Reader {
 public:
  explicit Reader(std::span<const std::byte> data) : data_(data) {}

  template <std::unsigned_integral T>
  Result<T> number(const char* what) {
    Be<T> value;
    if (data_.size() < sizeof value)
      return make_error(Code::kInvalidArgument, "the option ends before its {}", what);
    std::memcpy(&value, data_.data(), sizeof value);
    data_ = data_.subspan(sizeof value);
    return static_cast<T>(value);
  }

  Result<std::string> text(const char* what) {
    const uint32_t length = HOZON_TRY(number<uint32_t>(what));
    if (length > data_.size())
      return make_error(Code::kInvalidArgument, "the {} is longer than the option", what);
    if (length > kNameBytesMax)
      return make_error(Code::kResourceExhausted, "the {} is longer than {} bytes", what,
                        kNameBytesMax);
    std::string value(reinterpret_cast<const char*>(data_.data()), length);
    data_ = data_.subspan(length);
    return value;
  }

  Status finish() const {
    if (data_.empty()) return {};
    return make_error(Code::kInvalidArgument, "the option has {} bytes too many", data_.size());
  }

 private:
  std::span<const std::byte> data_;
};

}  // namespace

Result<InfoRequest> parse_info_request(std::span<const std::byte> data) {
  Reader reader(data);
  InfoRequest request{.name = HOZON_TRY(reader.text("export name")), .wanted = {}};
  const uint16_t count = HOZON_TRY(reader.number<uint16_t>("count of information requests"));
  for (uint16_t i = 0; i < count; ++i)
    request.wanted.push_back(HOZON_TRY(reader.number<uint16_t>("information requests")));
  HOZON_TRY(reader.finish());
  return request;
}

Result<ContextRequest> parse_context_request(std::span<const std::byte> data) {
  Reader reader(data);
  ContextRequest request{.name = HOZON_TRY(reader.text("export name")), .queries = {}};
  const uint32_t count = HOZON_TRY(reader.number<uint32_t>("count of queries"));
  for (uint32_t i = 0; i < count; ++i) {  // ends early: every query takes four bytes of the option
    request.queries.push_back(HOZON_TRY(reader.text("query")));
    if (request.queries.size() > kContextsMax)
      return make_error(Code::kResourceExhausted, "more than {} queries", kContextsMax);
  }
  HOZON_TRY(reader.finish());
  return request;
}

}  // namespace hozon::serve::nbd
