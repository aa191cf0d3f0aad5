// src/control/image.h
// Disk image files that come from outside: what they are, whether Hozon takes them, and their way
// into a volume.
//
// The format is decided here, by the first bytes, and named to qemu-img on every call: an image is
// never allowed to say that it is something else, to name other files of the host (backing file,
// external data file), or to need a key. qemu-img runs with bounded memory and processor time.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"

namespace hozon::control {

struct Image {
  std::string path;         // absolute
  std::string format;       // "raw", "qcow2"
  uint64_t size_bytes = 0;  // that a guest sees, rounded up to whole sectors
};

// kNotFound, kPermissionDenied, kInvalidArgument (not an image that is taken, and why),
// kCorruption.
Result<Image> inspect_image(const std::string& path, const std::string& qemu_img);

// Writes the image's content to the export behind `uri`, which must be new and at least as large.
// `on_progress` gets bytes done of size_bytes, and stops the import when it answers false.
Status import_image(const Image& image, const std::string& uri, const std::string& qemu_img,
                    const std::function<bool(uint64_t)>& on_progress);

}  // namespace hozon::control
