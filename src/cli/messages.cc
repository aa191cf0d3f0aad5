#include "cli/messages.h"

#include <cstdlib>

namespace hozon::cli {
namespace {

bool speaks_japanese() {
  for (const char* name : {"LC_ALL", "LC_MESSAGES", "LANG"}) {
    const char* const value = std::getenv(name);
    if (value != nullptr && *value != '\0') return std::string_view(value).starts_with("ja");
  }
  return false;
}

}  // namespace

std::string say(std::string_view english) {
  if (!speaks_japanese()) return std::string(english);
  const auto found = japanese().find(english);
  return std::string(found == japanese().end() ? english : found->second);
}

}  // namespace hozon::cli
