// src/base/text.h
// Well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates, nothing past U+10FFFF) and
// hexadecimal digits.
#pragma once

#include <cstddef>
#include <string_view>

namespace hozon {

// Bytes of the character that `text` begins with, 1 to 4; 0: it begins with none. Not empty.
size_t utf8_length(std::string_view text);
bool is_utf8(std::string_view text);

// A control character of ASCII.
constexpr bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) == 0x7f;
}

// 0 to 15; -1: not a digit.
constexpr int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace hozon
