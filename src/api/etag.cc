#include "api/etag.h"

#include <fmt/format.h>
#include <openssl/sha.h>

#include <array>

namespace hozon::api {

std::string etag_of(std::string_view body) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  ::SHA256(reinterpret_cast<const unsigned char*>(body.data()), body.size(), digest.data());
  std::string text = "\"";
  for (size_t i = 0; i < 16; ++i) text += fmt::format("{:02x}", digest.at(i));
  return text + "\"";
}

bool names_etag(std::string_view header, std::string_view etag) {
  while (!header.empty()) {
    const size_t comma = header.find(',');
    std::string_view one = header.substr(0, comma);
    while (!one.empty() && (one.front() == ' ' || one.front() == '\t')) one.remove_prefix(1);
    while (!one.empty() && (one.back() == ' ' || one.back() == '\t')) one.remove_suffix(1);
    if (one.starts_with("W/")) one.remove_prefix(2);
    if (one == "*" || one == etag) return true;
    header.remove_prefix(comma == std::string_view::npos ? header.size() : comma + 1);
  }
  return false;
}

}  // namespace hozon::api
