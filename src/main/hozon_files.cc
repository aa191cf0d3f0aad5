// hozon-files: reads files out of a snapshot, confined. Promises: files/helper.h.
#include "files/helper.h"

#ifdef __SANITIZE_ADDRESS__
// Looking for leaks needs a second process, which a confined one cannot have.
extern "C" const char* __asan_default_options() { return "detect_leaks=0"; }
#endif

int main() { return hozon::files::run_helper(); }
