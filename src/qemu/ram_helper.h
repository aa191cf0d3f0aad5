// src/qemu/ram_helper.h
// The program hozon-ram: the process that stands between QEMU and a memory volume (see ram_save.h).
//
//   hozon-ram save --stream-fd N --uri URI --ram-bytes B --status FILE [--spill-dir DIR] [--name X]
//                  [--gate-fd N --filler-bytes B]
//   hozon-ram load --stream-fd N --uri URI --ram-bytes B --status FILE [--pages stream|mapped]
//                  [--name X]
//   hozon-ram serve ...      see ram_serve.h
//   hozon-ram info --uri URI --ram-bytes B
// Common: --patience-ms N, how long a silent NBD server is waited for (default kNbdPatienceMs).
//
//   hozon-ram drain ...      (the arguments of save): what a save becomes on kGiveUpSignal. It
//   stores
//                            nothing any more and reads the stream to its end.
// With a gate `save` reads nothing before the gate is closed at its other end, and throws the first
// B bytes away, which only kept the stream full.
// `save` never stops reading the stream before its end, whatever happens to the volume, and no
// signal but SIGKILL ends it earlier. The status file (JSON, replaced atomically) carries the
// members of RamStatus by name, with phase as "starting|ready|running|done|failed" and error as
// {"code","message"}. Exit status: 0 done, 1 failed (the status file says why), 2 wrong arguments.
#pragma once

#include <string>
#include <vector>

#include "qemu/ram_save.h"

namespace hozon {

int run_ram_helper(const std::vector<std::string>& arguments);

std::string encode_ram_status(const RamStatus& status);
Result<RamStatus> decode_ram_status(const std::string& text);

}  // namespace hozon
