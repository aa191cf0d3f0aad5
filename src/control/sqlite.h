// src/control/sqlite.h
// SQLite's C interface with owners, Results and one lock.
//
// Invariants
//   Q1  A statement that returned success is on the disk (WAL, synchronous=FULL), unless it is part
//       of a Transaction: then all of them are once commit() has returned.
//   Q2  While a Transaction lives no other thread reads or writes through the same Database.
// Threading: any thread.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "base/result.h"

namespace hozon::control {

using Value = std::variant<std::nullptr_t, int64_t, std::string>;

inline Value sql(uint64_t number) { return static_cast<int64_t>(number); }
inline Value sql(bool flag) { return int64_t{flag}; }
inline Value sql(const std::string& text) { return text; }
inline Value sql(const char* text) { return std::string(text); }
// Empty text becomes NULL: for references that may be absent.
inline Value sql_or_null(const std::string& text) {
  return text.empty() ? Value(nullptr) : Value(text);
}

// One row of an answer. NULL reads as 0 or "".
class Row {
 public:
  explicit Row(std::vector<Value> values) : values_(std::move(values)) {}
  uint64_t number(size_t column) const;
  const std::string& text(size_t column) const;
  bool flag(size_t column) const { return number(column) != 0; }

 private:
  std::vector<Value> values_;
};

class Database {
 public:
  static Result<Database> open(const std::string& path);

  Result<std::vector<Row>> query(const char* statement, const std::vector<Value>& values = {});
  // For statements without rows. kAlreadyExists: a UNIQUE rule is in the way.
  Status run(const char* statement, const std::vector<Value>& values = {});
  // Several statements, without values: the schema.
  Status run_script(const char* statements);
  // Called after every transaction that changed something in a temporary table, when it is on the
  // disk; under the lock of Q2. What it does itself does not call it again.
  void on_commit(std::function<void(Database&)> tell);
  int64_t last_id();
  int64_t changes();

 private:
  friend class Transaction;
  struct Closer {
    void operator()(sqlite3* handle) const { ::sqlite3_close_v2(handle); }
  };
  // What SQLite's hook is given; has an address of its own, because a Database moves.
  struct Watch {
    std::function<void(Database&)> tell;
    bool is_due = false;
    bool is_telling = false;
  };
  struct Finalizer {
    void operator()(sqlite3_stmt* statement) const { ::sqlite3_finalize(statement); }
  };
  static constexpr size_t kPreparedMax = 256;
  Error error_of(const char* statement) const;
  Result<sqlite3_stmt*> prepare(const char* statement);
  Result<std::vector<Row>> step_all(const char* statement, const std::vector<Value>& values);
  void tell_if_due();

  std::unique_ptr<Watch> watch_ = std::make_unique<Watch>();
  std::unique_ptr<sqlite3, Closer> handle_;
  std::unordered_map<std::string, std::unique_ptr<sqlite3_stmt, Finalizer>> prepared_;  // by text
  std::unique_ptr<std::recursive_mutex> mutex_ = std::make_unique<std::recursive_mutex>();
};

// Rolls back unless committed. One inside another is a savepoint: the outer one decides.
class Transaction {
 public:
  static Result<Transaction> begin(Database& database);
  Transaction(Transaction&& other) noexcept;
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();
  Status commit();

 private:
  Transaction(Database& database, std::unique_lock<std::recursive_mutex> lock, bool nested)
      : database_(&database), lock_(std::move(lock)), nested_(nested) {}
  Database* database_;
  std::unique_lock<std::recursive_mutex> lock_;
  bool nested_;
};

}  // namespace hozon::control
