// src/cli/sentences.h
// What hozond says, in the user's language (messages.h says which): why it refuses or fails, the
// steps of jobs, what plans and results tell.
//
// The answers of hozond, and the errors of this program, are English sentences that were made from
// a form such as "machine '{}' is {}: {}". The catalog has the forms; a sentence that one of them
// can have made is said in the Japanese of that form, with the values exactly as they were. So a
// server needs to know nothing of languages, and errors that are kept with old jobs are read, too.
//
// Invariants
//   S1  A sentence is translated whole or stays English whole. A value that is a sentence itself
//       ({0*} in the Japanese) is translated, too, or nothing is. "CONTEXT: SENTENCE" is both. A
//       form of few words takes a name without blanks only ({0w}), so that it is no part of others.
//   S2  A sentence that can be read in two ways, which quotes in a value may cause, stays English.
//   S3  Programs get English: only what is printed for people goes through here.
// Threading: any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hozon::cli {

struct Form {
  std::string_view english;   // {}, {:x} or {{ as of fmt
  std::string_view japanese;  // {0}: the first value; {0*}: a sentence; {0w}: one word
};
using Forms = std::vector<Form>;
const Forms& control_forms();  // sentences_control_ja.cc
const Forms& storage_forms();  // sentences_storage_ja.cc: pools, volumes, images, schedules
const Forms& other_forms();    // sentences_ja.cc: the API, the connection, this program, the system
const Forms& step_forms();     // sentences_steps_ja.cc: steps, plans, results, states

// One line that helps with a code of docs/errors.md, for a sentence that has no form. Empty: there
// is no such code.
std::string_view japanese_of_code(std::string_view code);

// The sentence in Japanese; empty when the catalog does not know it whole.
std::string in_japanese(std::string_view sentence);

// The sentence in the user's language; itself when the catalog does not know it whole.
std::string say_sentence(std::string_view sentence);

// What a command that failed says in the end: when the sentence has no Japanese, help with the code
// follows in a line of its own.
struct SaidError {
  std::string sentence;
  bool is_translated = false;
  std::string_view help;
};
SaidError say_error(std::string_view code, std::string_view sentence);

}  // namespace hozon::cli
