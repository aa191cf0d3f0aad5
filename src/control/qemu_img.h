// src/control/qemu_img.h
// One run of qemu-img over an image, bounded in memory, with its progress.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "control/program.h"

namespace hozon::control {

// What qemu-img says, reduced to one line without its own name in front.
std::string complaint_of(const ProgramEnd& end);

// `argv` with -p; `on_progress` gets bytes done of size_bytes, and ends the program when it answers
// false (kCancelled). The complaint is empty when it ended well.
Result<std::string> run_qemu_img(std::vector<std::string> argv, uint64_t size_bytes,
                                 const std::function<bool(uint64_t)>& on_progress);

}  // namespace hozon::control
