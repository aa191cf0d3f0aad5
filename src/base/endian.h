// src/base/endian.h
// Integers that own their byte order. They have alignment one, so a struct made of them has no
// padding and can be copied to and from any buffer on any host. Le: on disk. Be: on the wire (NBD).
#pragma once

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>

namespace hozon {

template <std::unsigned_integral T, std::endian Order>
class EndianInteger {
 public:
  constexpr EndianInteger() = default;
  constexpr EndianInteger(T value) {
    for (size_t i = 0; i < sizeof(T); ++i)
      bytes_[position(i)] = static_cast<uint8_t>(value >> (8 * i));
  }
  constexpr operator T() const {
    T value = 0;
    for (size_t i = 0; i < sizeof(T); ++i)
      value = static_cast<T>(value | static_cast<T>(T{bytes_[position(i)]} << (8 * i)));
    return value;
  }

 private:
  static constexpr size_t position(size_t i) {
    return Order == std::endian::little ? i : sizeof(T) - 1 - i;
  }
  std::array<uint8_t, sizeof(T)> bytes_{};
};

template <std::unsigned_integral T>
using Le = EndianInteger<T, std::endian::little>;
template <std::unsigned_integral T>
using Be = EndianInteger<T, std::endian::big>;

}  // namespace hozon
