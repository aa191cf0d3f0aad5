// hozon: the command line. Everything is in src/cli.
#include "cli/cli.h"

int main(int argc, char** argv) { return hozon::cli::run(argc, argv); }
