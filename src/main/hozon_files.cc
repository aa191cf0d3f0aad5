// hozon-files: reads files out of a snapshot, confined. Promises: files/helper.h.
#include "files/helper.h"

int main() { return hozon::files::run_helper(); }
