// src/base/crc32c.h
// CRC-32C (Castagnoli), as in RFC 3720 appendix B.4: crc32c("123456789") == 0xe3069283.
// Any thread. Computed by ISA-L with the processor's own instructions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace hozon {

// `seed` continues an earlier checksum: crc32c(b, crc32c(a)) == crc32c(ab).
uint32_t crc32c(std::span<const std::byte> data, uint32_t seed = 0);

}  // namespace hozon
