// hozon __manual DIRECTORY: writes the manual pages, hozon(1) and one for each noun, made of the
// grammar. Run by the build; what --help says and what a page says cannot differ.
#include <filesystem>
#include <fstream>

#include "cli/commands.h"
#include "cli/grammar.h"
#include "cli/version.h"

namespace hozon::cli {
namespace {

// Text for troff: a backslash, a leading dot or quote and a minus mean something there.
std::string troff(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else {
      if ((c == '.' || c == '\'') && (out.empty() || out.back() == '\n')) out += "\\&";
      out += c;
    }
  }
  return out;
}

std::string head(const std::string& name, const std::string& what) {
  std::string upper = name;
  for (char& c : upper)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return fmt::format(".TH {} 1 \"\" \"Hozon {}\" \"Hozon\"\n.ad l\n.SH NAME\n{} \\- {}\n",
                     troff(upper), kVersion, troff(name), troff(what));
}

std::string path_text(const GrammarVerb& verb) {
  std::string text = "hozon";
  for (const std::string& word : verb.path) text += " " + word;
  return text;
}

std::string synopsis(const GrammarVerb& verb) {
  std::string text = fmt::format(".B {}\n", troff(path_text(verb)));
  for (const GrammarOption& option : verb.options) {
    if (!option.is_positional) continue;
    const std::string name = troff(option.name) + (option.is_many ? "..." : "");
    text += option.required ? fmt::format(".I {}\n", name) : fmt::format("[\\fI{}\\fR]\n", name);
  }
  return text + "[\\fIOPTION\\fR]...\n";
}

std::string option_text(const GrammarOption& option) {
  std::string text = ".TP\n";
  if (option.is_positional)
    return text + fmt::format(".I {}\n{}.\n", troff(option.name), troff(option.help));
  std::string names = troff(option.name);
  if (!option.brief.empty()) names = troff(option.brief) + ", " + names;
  text += fmt::format("\\fB{}\\fR", names);
  if (!option.value.empty()) text += fmt::format(" \\fI{}\\fR", troff(option.value));
  return text + fmt::format("\n{}{}.\n", troff(option.help), option.required ? " (required)" : "");
}

std::string verb_text(const GrammarVerb& verb) {
  std::string text = fmt::format(".SS {}\n{}.\n.PP\n", troff(path_text(verb)), troff(verb.help));
  text += synopsis(verb);
  for (const GrammarOption& option : verb.options)
    if (option.name != "--help") text += option_text(option);
  return text + fmt::format(".PP\nExample:\n.PP\n.nf\n.RS\n{}\n.RE\n.fi\n", troff(verb.example));
}

std::string main_page() {
  std::string text = head("hozon", "snapshots of virtual machines");
  text += ".SH SYNOPSIS\n.B hozon\n.I NOUN VERB\n[\\fIARGUMENT\\fR]...\n.SH COMMANDS\n";
  for (const GrammarNoun& noun : grammar().nouns)
    text += fmt::format(".TP\n.B {}\n{}.\n", troff(noun.name), troff(noun.help));
  for (const GrammarVerb& verb : grammar().verbs)
    if (verb.path.size() == 1) text += verb_text(verb);
  text += ".SH OPTIONS\nEverywhere:\n";
  for (const GrammarOption& option : grammar().anywhere)
    if (option.name != "--help") text += option_text(option);
  text +=
      ".SH ENVIRONMENT\n.TP\n.B HOZON_DIR\nDirectory of the instance, as \\-\\-dir.\n.TP\n"
      ".B HOZON_URL\nAn instance elsewhere, as \\-\\-url.\n.TP\n.B HOZON_TOKEN\nThe token for it.\n"
      ".TP\n.B HOZON_CACERT\nFile with the certificate of the authority that it is trusted for.\n"
      ".TP\n.B NO_COLOR\nWhen set and not empty, nothing is coloured.\n"
      ".SH EXIT STATUS\n0 ok, 1 failed, 2 usage, 3 not found, 4 conflict or wrong state.\n"
      ".SH SEE ALSO\n";
  for (const GrammarNoun& noun : grammar().nouns)
    for (const GrammarVerb& verb : grammar().verbs)
      if (verb.path.size() > 1 && verb.path.front() == noun.name) {
        text += fmt::format(".BR hozon\\-{} (1)\n", troff(noun.name));
        break;
      }
  return text;
}

std::string noun_page(const GrammarNoun& noun) {
  std::string text;
  for (const GrammarVerb& verb : grammar().verbs)
    if (verb.path.size() > 1 && verb.path.front() == noun.name) text += verb_text(verb);
  if (text.empty()) return text;  // a verb without a noun: it is in hozon(1)
  return head("hozon-" + noun.name, noun.help) +
         fmt::format(".SH SYNOPSIS\n.B hozon {}\n.I VERB\n[\\fIARGUMENT\\fR]...\n.SH VERBS\n",
                     troff(noun.name)) +
         text + ".SH SEE ALSO\n.BR hozon (1)\n";
}

Status write(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::trunc | std::ios::binary);
  file << text;
  file.flush();
  if (!file) return make_error(Code::kIo, "'{}' cannot be written", path);
  return {};
}

}  // namespace

CommandResult manual(const Arguments& args, Context&) {
  std::error_code error;
  std::filesystem::create_directories(args.object, error);
  HOZON_TRY(write(args.object + "/hozon.1", main_page()));
  for (const GrammarNoun& noun : grammar().nouns) {
    const std::string page = noun_page(noun);
    if (!page.empty()) HOZON_TRY(write(fmt::format("{}/hozon-{}.1", args.object, noun.name), page));
  }
  return ExitCode::kOk;
}

}  // namespace hozon::cli
