// src/cli/messages.h
// What the command line says to people, in their language: English, which is what the source has,
// or Japanese when LC_ALL, LC_MESSAGES or LANG (the first that is set) begins with "ja".
//
// Translated are the help, the sentences of finished changes, the titles of tables and the labels
// of details. What hozond answers, and everything that programs read, stays as it is. A test
// compares the catalog with the source, so that no message lacks a translation.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace hozon::cli {

// The message in the user's language; itself when it is not in the catalog.
std::string say(std::string_view english);

using Catalog = std::map<std::string_view, std::string_view>;
const Catalog& japanese();  // messages_ja.cc

}  // namespace hozon::cli
