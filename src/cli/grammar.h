// src/cli/grammar.h
// The command line as a value, taken from the same declarations that parse it: what completion and
// the manual pages are made of.
#pragma once

#include <string>
#include <vector>

namespace hozon::cli {

struct GrammarOption {
  std::string name;   // "--size", or of a positional "VOLUME[@POINT]"
  std::string brief;  // "-y"; empty: none
  std::string value;  // "SIZE"; empty: takes none
  std::string help;
  bool required = false;
  bool is_positional = false;
  bool is_many = false;  // one or more words
};

struct GrammarVerb {
  std::vector<std::string> path;  // {"snapshot", "trash", "list"}
  std::string help;
  std::string example;
  std::vector<GrammarOption> options;  // positionals first, in their order
};

struct GrammarNoun {
  std::string name;  // "snapshot"
  std::string help;
};

struct Grammar {
  std::vector<GrammarNoun> nouns;       // and verbs without a noun, of the first level
  std::vector<GrammarOption> anywhere;  // --dir, --url, -o
  std::vector<GrammarVerb> verbs;
};

const Grammar& grammar();  // made once

}  // namespace hozon::cli
