// src/cli/messages.h
// What the command line says to people, in their language: English, which is what the source has,
// or Japanese when LC_ALL, LC_MESSAGES or LANG (the first that is set) begins with "ja".
//
// Translated are the help, the sentences of finished changes, the titles of tables, the labels of
// details, and questions. What hozond answers is for sentences.h; everything that programs read
// stays as it is. A test compares the catalog with the source, so that no message lacks a
// translation.
#pragma once

#include <fmt/format.h>

#include <map>
#include <string>
#include <string_view>

namespace hozon::cli {

bool speaks_japanese();

// The message in the user's language; itself when it is not in the catalog.
std::string say(std::string_view english);

// The message with its values.
template <typename... Args>
std::string say_filled(fmt::format_string<Args...> english, Args&&... values) {
  const fmt::string_view words = english;
  return fmt::vformat(say({words.data(), words.size()}), fmt::make_format_args(values...));
}

using Catalog = std::map<std::string_view, std::string_view>;
const Catalog& japanese();            // messages_ja.cc
const Catalog& japanese_questions();  // questions_ja.cc: questions and remarks
const Catalog& japanese_values();     // values_ja.cc: what sentences, tables and details take in

}  // namespace hozon::cli
