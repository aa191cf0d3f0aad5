// src/qemu/tpm.h
// A machine's TPM: the program swtpm beside its QEMU, with its state in the machine's directory,
// and the form in which that state is kept in a volume (docs/memory-image.md, "TPM state").
//
// swtpm replaces its state file as a whole, so a copy taken at any moment is one that the TPM had.
// What it has not written yet travels with a saved memory.
#pragma once

#include <array>
#include <string>

#include "base/endian.h"
#include "base/result.h"
#include "base/units.h"

namespace hozon {

inline constexpr const char* kTpmSocket = "tpm.sock";  // in a machine's directory
constexpr uint64_t kTpmVolumeBytes = 1_MiB;
constexpr uint64_t kTpmHeaderBytes = 4096;
constexpr uint64_t kTpmStateBytesMax = kTpmVolumeBytes - kTpmHeaderBytes;

struct TpmHeader {
  std::array<uint8_t, 8> magic;  // "HOZONTPM"
  Le<uint32_t> version;
  Le<uint32_t> header_crc32c;  // of all 4096 bytes, this field taken as zero
  Le<uint64_t> state_bytes;
  Le<uint32_t> state_crc32c;
  std::array<uint8_t, 4068> reserved;
};
static_assert(sizeof(TpmHeader) == kTpmHeaderBytes && alignof(TpmHeader) == 1);
static_assert(offsetof(TpmHeader, state_bytes) == 16 && offsetof(TpmHeader, state_crc32c) == 24);

// The running or last state in the machine's directory; empty: it has none.
std::string read_tpm_state(const std::string& machine_directory);
bool has_tpm_directory(const std::string& machine_directory);
// What the machine's next TPM begins with; an empty state makes a new TPM.
Status write_tpm_state(const std::string& machine_directory, const std::string& state);
Status remove_tpm_state(const std::string& machine_directory);

// The state in the volume, empty when none was kept. kCorruption: damaged.
Result<std::string> load_tpm_state(const std::string& uri);
// Does nothing when the volume holds that state already.
Status store_tpm_state(const std::string& uri, const std::string& state);

// Starts swtpm for the QEMU that is about to be started; it ends with that. kNotFound: swtpm is
// not installed.
Status start_tpm(const std::string& machine_directory);

}  // namespace hozon
