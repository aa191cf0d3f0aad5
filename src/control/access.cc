#include "control/access.h"

#include <openssl/sha.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>

#include "control/json.h"
#include "control/names.h"

namespace hozon::control {
namespace {

using nlohmann::json;

constexpr size_t kSecretBytes = 32;
constexpr size_t kNameMax = 64;
constexpr std::string_view kSecretPrefix = "hozon_";
constexpr uint64_t kTrimEvery = 1000;

struct Named {
  Right right;
  const char* name;
};
constexpr std::array kNames = {Named{kRead, "read"}, Named{kOperate, "operate"},
                               Named{kSnapshot, "snapshot"}, Named{kReturn, "return"},
                               Named{kAdmin, "admin"}};

constexpr const char* kTables = R"sql(
CREATE TABLE IF NOT EXISTS tokens (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL,
  hash TEXT NOT NULL UNIQUE,
  rights INTEGER NOT NULL,
  made_by TEXT NOT NULL,
  created_ns INTEGER NOT NULL,
  expires_ns INTEGER NOT NULL,
  revoked_ns INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS peers (user TEXT PRIMARY KEY, rights INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS audit (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  time_ns INTEGER NOT NULL,
  who TEXT NOT NULL,
  method TEXT NOT NULL,
  path TEXT NOT NULL,
  object TEXT NOT NULL,
  status INTEGER NOT NULL,
  code TEXT NOT NULL,
  job INTEGER NOT NULL
) STRICT;
PRAGMA user_version=1;
)sql";

std::string hex(const unsigned char* bytes, size_t count) {
  std::string text;
  for (size_t i = 0; i < count; ++i) text += fmt::format("{:02x}", bytes[i]);
  return text;
}

std::string hash_of(std::string_view secret) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  ::SHA256(reinterpret_cast<const unsigned char*>(secret.data()), secret.size(), digest.data());
  return hex(digest.data(), digest.size());
}

Result<std::string> new_secret() {
  std::array<unsigned char, kSecretBytes> bytes{};
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
    return errno_error(errno, "draw a random secret");
  return std::string(kSecretPrefix) + hex(bytes.data(), bytes.size());
}

Token token_of(const Row& row) {
  Token token;
  token.id = row.number(0);
  token.name = row.text(1);
  token.rights = static_cast<unsigned>(row.number(2));
  token.made_by = row.text(3);
  token.created_ns = row.number(4);
  token.expires_ns = row.number(5);
  token.revoked_ns = row.number(6);
  return token;
}

}  // namespace

Result<unsigned> rights_from_names(const std::vector<std::string>& names) {
  unsigned rights = kRead;
  for (const std::string& name : names) {
    const auto found = std::ranges::find(kNames, name, &Named::name);
    if (found == kNames.end())
      return make_error(Code::kInvalidArgument,
                        "'{}' is no right; there are read, operate, snapshot, return and admin",
                        name);
    rights |= found->right;
    if (found->right == kOperate) rights |= kSnapshot | kReturn;
    if (found->right == kAdmin) rights = kAllRights;
  }
  return rights;
}

std::vector<std::string> right_names(unsigned rights) {
  std::vector<std::string> names;
  for (const Named& named : kNames)
    if ((rights & named.right) != 0) names.emplace_back(named.name);
  return names;
}

json to_json(const Token& token) {
  const bool expired = token.expires_ns != 0 && token.expires_ns <= wall_clock_ns();
  return {{"id", token.id},
          {"name", token.name},
          {"rights", right_names(token.rights)},
          {"state", token.revoked_ns != 0 ? "revoked"
                    : expired             ? "expired"
                                          : "valid"},
          {"made_by", token.made_by},
          {"created", utc_text(token.created_ns)},
          {"expires", utc_text(token.expires_ns)},
          {"revoked", utc_text(token.revoked_ns)}};
}

json to_json(const Peer& peer) {
  return {{"user", peer.user}, {"rights", right_names(peer.rights)}};
}

json to_json(const AuditEntry& entry) {
  return {{"id", entry.id},         {"time", utc_text(entry.time_ns)},
          {"who", entry.who},       {"method", entry.method},
          {"path", entry.path},     {"object", entry.object},
          {"status", entry.status}, {"code", entry.code},
          {"job", entry.job}};
}

Result<std::unique_ptr<Access>> Access::open(const std::string& directory) {
  const std::string path = directory + "/access.db";
  Database database = HOZON_TRY(Database::open(path));
  HOZON_TRY(database.run_script(kTables));
  if (::chmod(path.c_str(), 0600) != 0) return errno_error(errno, "protect '{}'", path);
  return std::unique_ptr<Access>(new Access(std::move(database)));
}

Result<Access::NewToken> Access::create_token(const std::string& name, unsigned rights,
                                              uint64_t expires_in_s, const std::string& made_by) {
  HOZON_TRY(check_name("token", name, kNameMax));
  if (expires_in_s > kExpirySecondsMax)
    return make_error(Code::kInvalidArgument, "a token expires within {} seconds, or never",
                      kExpirySecondsMax);
  const std::string secret = HOZON_TRY(new_secret());
  Transaction transaction = HOZON_TRY(Transaction::begin(database_));
  const auto taken = HOZON_TRY(
      database_.query("SELECT 1 FROM tokens WHERE name = ? AND revoked_ns = 0", {sql(name)}));
  if (!taken.empty())
    return make_error(Code::kAlreadyExists,
                      "a token named '{}' exists; `hozon token revoke {}` ends it", name, name);
  const auto count = HOZON_TRY(database_.query("SELECT count(*) FROM tokens"));
  if (count.front().number(0) >= kTokensMax)
    return make_error(Code::kResourceExhausted, "{} tokens are the limit", kTokensMax);
  const uint64_t now_ns = wall_clock_ns();
  const uint64_t expires_ns = expires_in_s == 0 ? 0 : now_ns + expires_in_s * 1'000'000'000;
  HOZON_TRY(database_.run(
      "INSERT INTO tokens (name, hash, rights, made_by, created_ns, expires_ns, revoked_ns) "
      "VALUES (?, ?, ?, ?, ?, ?, 0)",
      {sql(name), sql(hash_of(secret)), sql(uint64_t{rights}), sql(made_by), sql(now_ns),
       sql(expires_ns)}));
  const auto id = static_cast<uint64_t>(database_.last_id());
  HOZON_TRY(transaction.commit());
  return NewToken{{id, name, rights, made_by, now_ns, expires_ns, 0}, secret};
}

Result<std::vector<Token>> Access::tokens() {
  std::vector<Token> tokens;
  for (const Row& row : HOZON_TRY(database_.query(
           "SELECT id, name, rights, made_by, created_ns, expires_ns, revoked_ns FROM tokens "
           "ORDER BY id")))
    tokens.push_back(token_of(row));
  return tokens;
}

Result<Token> Access::revoke_token(const std::string& name) {
  const auto rows = HOZON_TRY(database_.query(
      "SELECT id, name, rights, made_by, created_ns, expires_ns, revoked_ns FROM tokens "
      "WHERE name = ? ORDER BY id DESC LIMIT 1",
      {sql(name)}));
  if (rows.empty()) return make_error(Code::kNotFound, "there is no token '{}'", name);
  Token token = token_of(rows.front());
  if (token.revoked_ns != 0)
    return make_error(Code::kWrongState, "token '{}' is revoked already", name);
  token.revoked_ns = wall_clock_ns();
  HOZON_TRY(database_.run("UPDATE tokens SET revoked_ns = ? WHERE id = ?",
                          {sql(token.revoked_ns), sql(token.id)}));
  return token;
}

// What is compared is the hash of a secret that nobody can guess, so its timing tells nothing.
Result<Token> Access::find_token(std::string_view secret) {
  const auto rows = HOZON_TRY(database_.query(
      "SELECT id, name, rights, made_by, created_ns, expires_ns, revoked_ns FROM tokens "
      "WHERE hash = ?",
      {sql(hash_of(secret))}));
  if (!rows.empty()) {
    const Token token = token_of(rows.front());
    const bool expired = token.expires_ns != 0 && token.expires_ns <= wall_clock_ns();
    if (token.revoked_ns == 0 && !expired) return token;
  }
  return make_error(Code::kPermissionDenied, "the token is not valid");
}

Result<unsigned> Access::rights_of_user(const std::string& user) {
  const auto rows =
      HOZON_TRY(database_.query("SELECT rights FROM peers WHERE user = ?", {sql(user)}));
  return rows.empty() ? 0U : static_cast<unsigned>(rows.front().number(0));
}

Result<std::vector<Peer>> Access::peers() {
  std::vector<Peer> peers;
  for (const Row& row : HOZON_TRY(database_.query("SELECT user, rights FROM peers ORDER BY user")))
    peers.push_back({row.text(0), static_cast<unsigned>(row.number(1))});
  return peers;
}

Status Access::set_peer(const std::string& user, unsigned rights) {
  HOZON_TRY(check_name("user", user, kNameMax));
  return database_.run("INSERT OR REPLACE INTO peers (user, rights) VALUES (?, ?)",
                       {sql(user), sql(uint64_t{rights})});
}

Status Access::remove_peer(const std::string& user) {
  Transaction transaction = HOZON_TRY(Transaction::begin(database_));
  HOZON_TRY(database_.run("DELETE FROM peers WHERE user = ?", {sql(user)}));
  if (database_.changes() == 0)
    return make_error(Code::kNotFound, "user '{}' has no rights of its own", user);
  return transaction.commit();
}

Status Access::record(const AuditEntry& entry) {
  HOZON_TRY(
      database_.run("INSERT INTO audit (time_ns, who, method, path, object, status, code, job) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    {sql(wall_clock_ns()), sql(entry.who), sql(entry.method), sql(entry.path),
                     sql(entry.object.dump(-1, ' ', false, json::error_handler_t::replace)),
                     sql(static_cast<uint64_t>(entry.status)), sql(entry.code), sql(entry.job)}));
  if (recorded_.fetch_add(1) % kTrimEvery != 0) return {};
  return database_.run("DELETE FROM audit WHERE id <= (SELECT max(id) FROM audit) - ?",
                       {sql(uint64_t{kAuditMax})});
}

Result<std::vector<AuditEntry>> Access::audit(size_t most) {
  std::vector<AuditEntry> entries;
  for (const Row& row : HOZON_TRY(database_.query(
           "SELECT id, time_ns, who, method, path, object, status, code, job FROM audit "
           "ORDER BY id DESC LIMIT ?",
           {sql(uint64_t{most})}))) {
    AuditEntry entry;
    entry.id = row.number(0);
    entry.time_ns = row.number(1);
    entry.who = row.text(2);
    entry.method = row.text(3);
    entry.path = row.text(4);
    entry.object = json::parse(row.text(5), nullptr, false);
    entry.status = static_cast<int>(row.number(6));
    entry.code = row.text(7);
    entry.job = row.number(8);
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace hozon::control
