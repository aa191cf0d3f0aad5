// src/control/access.h
// Who may do what, and who did what: tokens, the users of this host that may come through the unix
// socket, and the audit log. In a file of its own, D/access.db, so that writing the log waits for
// nobody's transaction, and a copy of the inventory has no secrets.
//
// A token is a random secret of 256 bits that is shown once; kept is its SHA-256. It has rights and
// may expire or be revoked; a revoked one stays in the list, so that the log can be understood.
// Invariants
//   A1  No secret is ever written to a disk or a log.
//   A2  Every call that may change something has an entry once it is answered, refused ones too;
//       but none that was not looked at, because too many wrong tokens came from there: otherwise
//       whoever guesses could make the oldest entries go.
// Bounds: kTokensMax tokens, kAuditMax entries (the oldest go). Threading: any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/result.h"
#include "control/sqlite.h"

namespace hozon::control {

enum Right : unsigned {
  kRead = 1,      // see everything
  kOperate = 2,   // power of machines, networks, jobs
  kSnapshot = 4,  // make, mark and delete snapshots and points
  kReturn = 8,    // return, preview, commit, undo
  kAdmin = 16,    // all the rest
};
inline constexpr unsigned kAllRights = 31;
// "read", "operate", "snapshot", "return", "admin", and the role names: "read" alone, "operate"
// with read, snapshot and return, "admin" with everything. Every set includes read.
Result<unsigned> rights_from_names(const std::vector<std::string>& names);
std::vector<std::string> right_names(unsigned rights);

struct Token {
  uint64_t id = 0;
  std::string name;
  unsigned rights = 0;
  std::string made_by;
  uint64_t created_ns = 0;
  uint64_t expires_ns = 0;  // 0: never
  uint64_t revoked_ns = 0;  // 0: it is not
};

struct Peer {
  std::string user;
  unsigned rights = 0;
};

struct AuditEntry {
  uint64_t id = 0;
  uint64_t time_ns = 0;
  std::string who;        // "root", "token ci", "" when nobody could be told
  std::string method;     // of the call
  std::string path;       // as the routes have it: "/v1/machines/{machine}/start"
  nlohmann::json object;  // what the path named
  int status = 0;         // of the answer
  std::string code;       // of a refusal
  uint64_t job = 0;       // that does it; 0: none
};

nlohmann::json to_json(const Token& token);
nlohmann::json to_json(const Peer& peer);
nlohmann::json to_json(const AuditEntry& entry);

class Access {
 public:
  static constexpr size_t kTokensMax = 1000;
  static constexpr size_t kAuditMax = 100'000;

  static Result<std::unique_ptr<Access>> open(const std::string& directory);

  // kAlreadyExists: the name belongs to one that was not revoked.
  struct NewToken {
    Token token;
    std::string secret;
  };
  Result<NewToken> create_token(const std::string& name, unsigned rights, uint64_t expires_in_s,
                                const std::string& made_by);
  Result<std::vector<Token>> tokens();
  // The newest of that name. kNotFound, kWrongState: revoked already.
  Result<Token> revoke_token(const std::string& name);
  // kPermissionDenied, without saying why, when it is unknown, expired or revoked.
  Result<Token> find_token(std::string_view secret);

  // The user of this process and root have all rights whatever the list says.
  Result<unsigned> rights_of_user(const std::string& user);
  Result<std::vector<Peer>> peers();
  Status set_peer(const std::string& user, unsigned rights);
  Status remove_peer(const std::string& user);

  Status record(const AuditEntry& entry);
  Result<std::vector<AuditEntry>> audit(size_t most);  // newest first

 private:
  explicit Access(Database database) : database_(std::move(database)) {}
  Database database_;
  std::atomic<uint64_t> recorded_{0};
};

}  // namespace hozon::control
