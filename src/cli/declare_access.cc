// Tokens, users of this host, and the audit log, as the command line has them.
#include "cli/commands.h"
#include "cli/declare.h"

namespace hozon::cli {

void declare_access(CLI::App& root, Arguments& a) {
  const std::string rights = "read, operate, snapshot, return, admin; read is always there";
  CLI::App* token = add_noun(root, "token", "Secrets with which programs and other hosts come in");
  add_verb(token, a, "create", "Make a token; its secret is shown once",
           "hozon token create ci --rights snapshot,return --expires 30d", token_create)
      .required("NAME", a.object, "Name of the token")
      .list("--rights", a.rights, "What it may do: " + rights)
      .text("--expires", a.expires, "After this time, such as 12h or 30d (default: never)");
  add_verb(token, a, "list", "List tokens", "hozon token list", token_list);
  add_verb(token, a, "revoke", "Let a token be of no use from now on", "hozon token revoke ci",
           token_revoke)
      .required("NAME", a.object, "Name of the token");
  CLI::App* peer = add_noun(root, "peer", "Users of this host that may use the API's socket");
  add_verb(peer, a, "set", "Say what a user may do", "hozon peer set backup --rights snapshot",
           peer_set)
      .required("USER", a.object, "Name of the user")
      .list("--rights", a.rights, rights);
  add_verb(peer, a, "list", "List users with rights of their own", "hozon peer list", peer_list);
  add_verb(peer, a, "remove", "Take a user's rights away", "hozon peer remove backup", peer_remove)
      .required("USER", a.object, "Name of the user");
  CLI::App* audit = add_noun(root, "audit", "Who changed what");
  add_verb(audit, a, "list", "List calls that could change something, newest first",
           "hozon audit list --who 'token ci'", audit_list)
      .text("--who", a.who, "Only of this user or token")
      .count("--count", a.at_most, "At most so many (default 50)");
}

}  // namespace hozon::cli
