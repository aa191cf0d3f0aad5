// A form becomes its pieces of text between the values. A sentence is read by placing each piece
// wherever it occurs, to the end of all ways; there are few, because pieces are long and sentences
// short. Of all forms that can have made it, the one with the most text counts, and before it one
// that puts words around a sentence.
#include "cli/sentences.h"

#include <algorithm>
#include <set>

#include "cli/messages.h"

namespace hozon::cli {
namespace {

constexpr size_t kSentenceMax = 4096;  // longer ones stay English
constexpr int kDepthMax = 5;           // of sentences in sentences
constexpr size_t kWaysMax = 64;        // to read one sentence by one form

struct CompiledForm {
  std::vector<std::string> pieces;  // one more than values
  size_t rank = 0;  // bytes of all pieces; more for what puts words around a sentence
  std::string_view japanese;
};

CompiledForm compile(const Form& form) {
  CompiledForm compiled{.pieces = {""}, .rank = 0, .japanese = form.japanese};
  const std::string_view english = form.english;
  for (size_t i = 0; i < english.size(); ++i) {
    const bool is_doubled = i + 1 < english.size() && english[i + 1] == english[i];
    if (english[i] == '{' && !is_doubled) {
      i = english.find('}', i);
      compiled.pieces.emplace_back();
      continue;
    }
    if ((english[i] == '{' || english[i] == '}') && is_doubled) ++i;
    compiled.pieces.back() += english[i];
    ++compiled.rank;
  }
  // Asked first: the last value of another form could take in the words around it.
  if (compiled.pieces.front().empty() && form.japanese.starts_with("{0*}"))
    compiled.rank += kSentenceMax;
  return compiled;
}

const std::vector<CompiledForm>& all_forms() {
  static const std::vector<CompiledForm> kForms = [] {
    std::vector<CompiledForm> forms;
    for (const Forms* some : {&control_forms(), &storage_forms(), &other_forms(), &step_forms()})
      for (const Form& form : *some) forms.push_back(compile(form));
    forms.push_back(compile({"{}: {}", "{0*}：{1*}"}));  // what add_context() makes
    forms.back().rank = 0;
    std::ranges::stable_sort(forms, std::greater<>(), &CompiledForm::rank);
    return forms;
  }();
  return kForms;
}

using Values = std::vector<std::string_view>;

// All ways in which the pieces from `next` on make the rest of a sentence.
void read_rest(const CompiledForm& form, size_t next, std::string_view rest, Values& values,
               std::vector<Values>& ways) {
  if (next == form.pieces.size()) {
    if (rest.empty()) ways.push_back(values);
    return;
  }
  const std::string& piece = form.pieces[next];
  const bool is_last = next + 1 == form.pieces.size();
  for (size_t at = 1; at <= rest.size() && ways.size() < kWaysMax; ++at) {
    if (is_last) {
      if (rest.size() < piece.size() + 1) return;
      at = rest.size() - piece.size();
    } else {
      at = rest.find(piece, at);
      if (at == std::string_view::npos) return;
    }
    if (!rest.substr(at).starts_with(piece)) return;
    values.push_back(rest.substr(0, at));
    read_rest(form, next + 1, rest.substr(at + piece.size()), values, ways);
    values.pop_back();
    if (is_last) return;
  }
}

std::vector<Values> read(const CompiledForm& form, std::string_view sentence) {
  std::vector<Values> ways;
  Values values;
  const std::string& first = form.pieces.front();
  if (!sentence.starts_with(first)) return ways;
  if (form.pieces.size() == 1) {
    if (sentence == first) ways.emplace_back();
    return ways;
  }
  read_rest(form, 1, sentence.substr(first.size()), values, ways);
  return ways;
}

std::string translate(std::string_view sentence, int depth);

// Empty when a value that has to be translated, or to be one word, cannot be.
std::string filled(std::string_view japanese, const Values& values, int depth) {
  std::string text;
  for (size_t i = 0; i < japanese.size(); ++i) {
    if (japanese[i] != '{') {
      text += japanese[i];
      continue;
    }
    std::string value(values.at(static_cast<size_t>(japanese[i + 1] - '0')));
    const char kind = japanese[i + 2];
    if (kind == '*') value = translate(value, depth + 1);
    if (kind == 'w' && value.find(' ') != std::string::npos) return "";
    if (value.empty()) return "";
    text += value;
    i += kind == '}' ? 2 : 3;
  }
  return text;
}

std::string translate(std::string_view sentence, int depth) {
  if (depth > kDepthMax || sentence.size() > kSentenceMax) return "";
  std::set<std::string> readings;
  size_t rank = 0;
  for (const CompiledForm& form : all_forms()) {
    if (!readings.empty() && form.rank < rank) break;
    rank = form.rank;
    for (const Values& values : read(form, sentence)) {
      std::string reading = filled(form.japanese, values, depth);
      if (!reading.empty()) readings.insert(std::move(reading));
    }
  }
  return readings.size() == 1 ? *readings.begin() : "";  // keeps S2
}

}  // namespace

std::string in_japanese(std::string_view sentence) { return translate(sentence, 0); }

std::string say_sentence(std::string_view sentence) {
  std::string japanese = speaks_japanese() ? in_japanese(sentence) : "";
  return japanese.empty() ? std::string(sentence) : japanese;
}

SaidError say_error(std::string_view code, std::string_view sentence) {
  SaidError said{.sentence = std::string(sentence), .is_translated = false, .help = {}};
  if (!speaks_japanese()) return said;
  std::string japanese = in_japanese(sentence);
  said.is_translated = !japanese.empty();
  if (said.is_translated)
    said.sentence = std::move(japanese);
  else
    said.help = japanese_of_code(code);
  return said;
}

}  // namespace hozon::cli
