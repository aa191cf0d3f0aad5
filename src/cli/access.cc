// hozon token ..., hozon peer ..., hozon audit ...
#include "cli/commands.h"

namespace hozon::cli {
namespace {

using client::Json;
using client::number_of;
using client::text_of;
using client::texts_of;

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ",") + word;
  return text;
}

void show_list(const std::vector<Json>& items, const char* name, Context& context,
               const std::function<Table()>& table) {
  std::vector<std::string> names;
  for (const Json& item : items) names.push_back(text_of(item, name));
  context.printer().list(Json(items), names, table);
}

}  // namespace

CommandResult token_create(const Arguments& args, Context& context) {
  const uint64_t expires_in_s = args.expires.empty() ? 0 : HOZON_TRY(parse_duration(args.expires));
  const Json made =
      HOZON_TRY(context.client().create_token(args.object, args.rights, expires_in_s));
  const std::string secret = text_of(made, "secret");
  context.printer().object(made, secret,
                           say_filled("Token {} may {}. Its secret is shown this once:",
                                      text_of(made, "name"), joined(texts_of(made, "rights"))) +
                               "\n" + secret + "\n");
  return ExitCode::kOk;
}

CommandResult token_list(const Arguments&, Context& context) {
  const std::vector<Json> tokens = HOZON_TRY(context.client().tokens());
  show_list(tokens, "name", context, [&tokens] {
    Table table({"NAME", "STATE", "RIGHTS", "MADE BY", "MADE", "EXPIRES"});
    for (const Json& token : tokens)
      table.add({text_of(token, "name"), text_of(token, "state"), joined(texts_of(token, "rights")),
                 text_of(token, "made_by"), text_of(token, "created"), text_of(token, "expires")});
    return table;
  });
  return ExitCode::kOk;
}

CommandResult token_revoke(const Arguments& args, Context& context) {
  const Json token = HOZON_TRY(context.client().revoke_token(args.object));
  context.printer().done(token, args.object, "Token {} is revoked.", args.object);
  return ExitCode::kOk;
}

CommandResult peer_set(const Arguments& args, Context& context) {
  const Json peer = HOZON_TRY(context.client().set_peer(args.object, args.rights));
  context.printer().done(peer, args.object, "User {} may {}.", args.object,
                         joined(texts_of(peer, "rights")));
  return ExitCode::kOk;
}

CommandResult peer_list(const Arguments&, Context& context) {
  const std::vector<Json> peers = HOZON_TRY(context.client().peers());
  show_list(peers, "user", context, [&peers] {
    Table table({"USER", "RIGHTS"});
    for (const Json& peer : peers)
      table.add({text_of(peer, "user"), joined(texts_of(peer, "rights"))});
    return table;
  });
  return ExitCode::kOk;
}

CommandResult peer_remove(const Arguments& args, Context& context) {
  const Json gone = HOZON_TRY(context.client().remove_peer(args.object));
  context.printer().done(gone, args.object, "User {} has no rights of its own any more.",
                         args.object);
  return ExitCode::kOk;
}

CommandResult audit_list(const Arguments& args, Context& context) {
  constexpr uint64_t kShown = 50;
  constexpr uint64_t kShownMax = 1000;
  const uint64_t most = std::min(args.at_most == 0 ? kShown : args.at_most, kShownMax);
  const std::string query = args.who.empty() ? "" : "&who=" + client::percent_encode(args.who);
  const std::vector<Json> entries = HOZON_TRY(context.client().audit(most, query));
  show_list(entries, "path", context, [&entries] {
    Table table({"TIME", "WHO", "CALL", "OBJECT", "RESULT", "JOB"});
    for (const Json& entry : entries) {
      std::string object;
      for (const auto& [kind, name] : entry.at("object").items())
        object += fmt::format("{}{} {}", object.empty() ? "" : ", ", kind,
                              name.is_string() ? name.get<std::string>() : "");
      const std::string code = text_of(entry, "code");
      const uint64_t job = number_of(entry, "job");
      table.add({text_of(entry, "time"), text_of(entry, "who"),
                 text_of(entry, "method") + " " + text_of(entry, "path"), object,
                 code.empty() ? "ok" : code, job == 0 ? "" : std::to_string(job)});
    }
    return table;
  });
  return ExitCode::kOk;
}

}  // namespace hozon::cli
