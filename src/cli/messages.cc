#include "cli/messages.h"

#include <cstdlib>

namespace hozon::cli {

bool speaks_japanese() {
  for (const char* name : {"LC_ALL", "LC_MESSAGES", "LANG"}) {
    const char* const value = std::getenv(name);
    if (value != nullptr && *value != '\0') return std::string_view(value).starts_with("ja");
  }
  return false;
}

std::string say(std::string_view english) {
  if (!speaks_japanese()) return std::string(english);
  for (const Catalog* catalog : {&japanese(), &japanese_questions(), &japanese_values()})
    if (const auto found = catalog->find(english); found != catalog->end())
      return std::string(found->second);
  return std::string(english);
}

}  // namespace hozon::cli
