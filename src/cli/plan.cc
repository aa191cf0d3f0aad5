#include "cli/plan.h"

#include "base/units.h"
#include "cli/printer.h"
#include "cli/sentences.h"

namespace hozon::cli {
namespace {

std::string value_text(const std::string& setting, const client::Json& value) {
  if (value.is_null()) return "none";
  if (value.is_string()) return fmt::format("'{}'", value.get<std::string>());
  if (setting.ends_with("_bytes") && value.is_number_unsigned())
    return format_bytes(value.get<uint64_t>());
  if (!value.is_object()) return value.dump();
  std::string text;
  for (const auto& [name, part] : value.items())
    text += (text.empty() ? "" : ", ") + name + " " + value_text(name, part);
  return text;
}

// The member `name` of the object, or null.
client::Json member(const client::Json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() ? client::Json() : *found;
}

void add_bytes(Details& details, const char* label, const client::Json& plan, const char* name) {
  const uint64_t bytes = client::number_of(plan, name);
  if (bytes != 0) details.add(label, format_bytes(bytes));
}

std::string guest_text(const client::Json& plan) {
  const std::string guest = client::text_of(plan, "guest");
  const std::string about = duration_text(client::number_of(plan, "guest_stop_us"));
  if (guest == "pause") return say_filled("stands still for about {}, and goes on", about);
  if (guest == "restart") return say_filled("is ended, and the other state runs");
  if (guest == "end") return say_filled("is ended");
  return say_filled("notices nothing");
}

void add_sentences(Details& details, const char* label, const client::Json& plan,
                   const char* name) {
  for (const std::string& sentence : client::texts_of(plan, name))
    details.add(label, say_sentence(sentence));
}

}  // namespace

std::string sentences_text(const client::Json& result, const char* member) {
  std::string text;
  for (const std::string& sentence : client::texts_of(result, member))
    text += "\n  " + printable(say_sentence(sentence));
  return text;
}

std::vector<std::string> settings_sentences(const client::Json& plan) {
  std::vector<std::string> sentences;
  for (const client::Json& change : member(plan, "settings_changes")) {
    const std::string setting = client::text_of(change, "setting");
    sentences.push_back(say_filled("setting {}: {} now, {} then", setting,
                                   value_text(setting, member(change, "now")),
                                   value_text(setting, member(change, "then"))));
  }
  return sentences;
}

std::string plan_text(const client::Json& plan) {
  Details details;
  const client::Json refusal = member(plan, "refusal");
  details.add("Plan",
              fmt::format("{} {}", client::text_of(plan, "kind"), client::text_of(plan, "object")));
  if (refusal.is_object()) {
    details.add("Refused", say_sentence(client::text_of(refusal, "message")));
    details.add("What helps", client::text_of(refusal, "remedy"));
    return details.render();
  }
  details.add("Guest", guest_text(plan));
  add_bytes(details, "Stores", plan, "writes_bytes");
  add_bytes(details, "Writes files of", plan, "file_bytes");
  add_bytes(details, "Gives back", plan, "frees_bytes");
  add_bytes(details, "Gives back later", plan, "later_frees_bytes");
  details.add("Takes about", duration_text(client::number_of(plan, "duration_us")));
  add_sentences(details, "Makes", plan, "makes");
  add_sentences(details, "Removes", plan, "removes");
  add_sentences(details, "Out of reach then", plan, "unreachable");
  add_sentences(details, "Identity", plan, "identity");
  for (const std::string& change : settings_sentences(plan)) details.add("Changes", change);
  add_sentences(details, "Note", plan, "notes");
  return details.render() + say_filled("Nothing was changed.") + "\n";
}

}  // namespace hozon::cli
