// A statement is prepared once and kept: preparing costs many times what most of them cost. It is
// reset before its rows are handed out, so that it holds no lock between two uses, and it is never
// in use twice, because all of its rows are taken at once.
#include "control/sqlite.h"

#include <cstring>

namespace hozon::control {
namespace {

// Lets go of what a statement has read and was given.
struct Resetter {
  void operator()(sqlite3_stmt* statement) const {
    ::sqlite3_reset(statement);
    ::sqlite3_clear_bindings(statement);
  }
};
using Use = std::unique_ptr<sqlite3_stmt, Resetter>;

// The value outlives the use.
void bind(sqlite3_stmt* statement, int index, const Value& value) {
  if (const auto* number = std::get_if<int64_t>(&value)) {
    ::sqlite3_bind_int64(statement, index, *number);
  } else if (const auto* text = std::get_if<std::string>(&value)) {
    ::sqlite3_bind_text(statement, index, text->data(), static_cast<int>(text->size()),
                        SQLITE_STATIC);
  } else {
    ::sqlite3_bind_null(statement, index);
  }
}

Value column(sqlite3_stmt* statement, int index) {
  switch (::sqlite3_column_type(statement, index)) {
    case SQLITE_INTEGER: return ::sqlite3_column_int64(statement, index);
    case SQLITE_NULL: return nullptr;
    default: {
      const unsigned char* const text = ::sqlite3_column_text(statement, index);
      const int bytes = ::sqlite3_column_bytes(statement, index);
      return std::string(reinterpret_cast<const char*>(text), static_cast<size_t>(bytes));
    }
  }
}

}  // namespace

uint64_t Row::number(size_t column) const {
  const auto* number = std::get_if<int64_t>(&values_.at(column));
  return number == nullptr ? 0 : static_cast<uint64_t>(*number);
}

const std::string& Row::text(size_t column) const {
  static const std::string kNone;
  const auto* text = std::get_if<std::string>(&values_.at(column));
  return text == nullptr ? kNone : *text;
}

Result<Database> Database::open(const std::string& path) {
  Database database;
  sqlite3* handle = nullptr;
  const int status =
      ::sqlite3_open_v2(path.c_str(), &handle,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  database.handle_.reset(handle);
  if (status != SQLITE_OK)
    return make_error(Code::kIo, "open inventory '{}': {}", path,
                      handle == nullptr ? "no memory" : ::sqlite3_errmsg(handle));
  ::sqlite3_busy_timeout(handle, 5000);
  const Status set = database.run_script(
      "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; "
      "PRAGMA temp_store=MEMORY;");
  if (!set) return add_context(set.error(), fmt::format("open inventory '{}'", path));
  return database;
}

Error Database::error_of(const char* statement) const {
  const int extended = ::sqlite3_extended_errcode(handle_.get());
  const std::string words(statement, std::min<size_t>(std::strlen(statement), 40));
  Code code = Code::kIo;
  if (extended == SQLITE_CONSTRAINT_UNIQUE || extended == SQLITE_CONSTRAINT_PRIMARYKEY)
    code = Code::kAlreadyExists;
  else if ((extended & 0xff) == SQLITE_FULL)
    code = Code::kResourceExhausted;
  else if ((extended & 0xff) == SQLITE_CORRUPT || (extended & 0xff) == SQLITE_NOTADB)
    code = Code::kCorruption;
  else if ((extended & 0xff) == SQLITE_BUSY)
    code = Code::kBusy;
  return Error{
      code, fmt::format("inventory: {} (in \"{}...\")", ::sqlite3_errmsg(handle_.get()), words), 0};
}

Result<std::vector<Row>> Database::query(const char* statement, const std::vector<Value>& values) {
  const std::lock_guard lock(*mutex_);
  Result<std::vector<Row>> rows = step_all(statement, values);
  tell_if_due();
  return rows;
}

void Database::on_commit(std::function<void(Database&)> tell) {
  const std::lock_guard lock(*mutex_);
  watch_->tell = std::move(tell);
  const auto note = [](void* watch, int, const char* schema, const char*, sqlite3_int64) {
    if (std::strcmp(schema, "temp") == 0) static_cast<Watch*>(watch)->is_due = true;
  };
  ::sqlite3_update_hook(handle_.get(), note, watch_.get());
}

void Database::tell_if_due() {
  Watch& watch = *watch_;
  if (!watch.is_due || watch.is_telling || ::sqlite3_get_autocommit(handle_.get()) == 0) return;
  watch.is_telling = true;
  watch.tell(*this);
  watch.is_telling = false;
  watch.is_due = false;
}

Result<sqlite3_stmt*> Database::prepare(const char* statement) {
  if (const auto found = prepared_.find(statement); found != prepared_.end())
    return found->second.get();
  sqlite3_stmt* raw = nullptr;
  if (::sqlite3_prepare_v3(handle_.get(), statement, -1, SQLITE_PREPARE_PERSISTENT, &raw,
                           nullptr) != SQLITE_OK)
    return std::unexpected(error_of(statement));
  if (prepared_.size() >= kPreparedMax) prepared_.clear();
  prepared_[statement].reset(raw);
  return raw;
}

Result<std::vector<Row>> Database::step_all(const char* statement,
                                            const std::vector<Value>& values) {
  const Use use(HOZON_TRY(prepare(statement)));
  sqlite3_stmt* const raw = use.get();
  HOZON_CHECK(static_cast<size_t>(::sqlite3_bind_parameter_count(raw)) == values.size());
  for (size_t i = 0; i < values.size(); ++i) bind(raw, static_cast<int>(i + 1), values[i]);
  const int columns = ::sqlite3_column_count(raw);
  std::vector<Row> rows;
  for (;;) {
    const int status = ::sqlite3_step(raw);
    if (status == SQLITE_DONE) return rows;
    if (status != SQLITE_ROW) return std::unexpected(error_of(statement));
    std::vector<Value> row;
    row.reserve(static_cast<size_t>(columns));
    for (int i = 0; i < columns; ++i) row.push_back(column(raw, i));
    rows.emplace_back(std::move(row));
  }
}

Status Database::run(const char* statement, const std::vector<Value>& values) {
  HOZON_TRY(query(statement, values));
  return {};
}

Status Database::run_script(const char* statements) {
  const std::lock_guard lock(*mutex_);
  if (::sqlite3_exec(handle_.get(), statements, nullptr, nullptr, nullptr) != SQLITE_OK)
    return std::unexpected(error_of(statements));
  return {};
}

int64_t Database::last_id() {
  const std::lock_guard lock(*mutex_);
  return ::sqlite3_last_insert_rowid(handle_.get());
}

int64_t Database::changes() {
  const std::lock_guard lock(*mutex_);
  return ::sqlite3_changes(handle_.get());
}

Result<Transaction> Transaction::begin(Database& database) {
  std::unique_lock lock(*database.mutex_);
  const bool nested = ::sqlite3_get_autocommit(database.handle_.get()) == 0;
  HOZON_TRY(database.run(nested ? "SAVEPOINT inner" : "BEGIN IMMEDIATE"));
  return Transaction(database, std::move(lock), nested);
}

Transaction::Transaction(Transaction&& other) noexcept
    : database_(std::exchange(other.database_, nullptr)),
      lock_(std::move(other.lock_)),
      nested_(other.nested_) {}

Transaction::~Transaction() {
  if (database_ != nullptr)
    (void)database_->run_script(nested_ ? "ROLLBACK TO inner; RELEASE inner" : "ROLLBACK");
}

Status Transaction::commit() {
  HOZON_TRY(database_->run(nested_ ? "RELEASE inner" : "COMMIT"));
  database_ = nullptr;
  lock_.unlock();
  return {};
}

}  // namespace hozon::control
