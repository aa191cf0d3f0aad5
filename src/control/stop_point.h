// src/control/stop_point.h
// Places at which a test can end or hold this program, to see what the next start makes of it.
//
// Harmless in production: without the environment variable HOZON_TEST_STOPS every call returns at
// once. With it, the variable names a file of lines "kill WHERE N" or "hold WHERE N". WHERE is the
// kind of a job ("snapshot.create"), or "undo " and the kind while it is taken back. At the Nth
// point of such a job, counted from its beginning, the first line is taken out of the file and this
// process is killed with SIGKILL, or the calling thread waits until the file "FILE.go" exists.
// Points stand before and after each journalled step, the commit and the record of the end.
#pragma once

#include <string>

namespace hozon::control {

void begin_stop_points(const std::string& where);  // counting starts again, with this as the first
void stop_point(const std::string& where);

}  // namespace hozon::control
