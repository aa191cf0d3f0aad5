// src/base/result.h
// How expected trouble travels: Result<T> is a value or an Error; Status is a Result without a
// value.
//
// An Error carries a Code chosen by what the caller can do about it, one sentence that names the
// object and the operation, and the errno if there was one. Each layer adds what it alone knows.
// HOZON_CHECK states what only a bug could break; it stays on in release builds.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace hozon {

enum class Code : uint8_t {
  kInvalidArgument,    // the request is wrong in itself; repeat it corrected
  kNotFound,           // the named object does not exist
  kAlreadyExists,      // the name is taken
  kBusy,               // somebody else holds the object; repeat later
  kWrongState,         // the object is in a state that does not allow this
  kResourceExhausted,  // space, memory or a quota ran out
  kPermissionDenied,
  kUnavailable,  // the peer is not there or did not answer in time; repeat later
  kCorruption,   // stored bytes are not what was written
  kIo,           // the operating system failed an operation
  kUnimplemented,
  kInternal,  // a bug of ours
  kCancelled,
};

// Stable lower-case word for a code, as used in JSON ("not_found").
std::string_view code_name(Code code);
// The inverse; kInternal for a word that is not known.
Code code_from_name(std::string_view name);

struct Error {
  Code code = Code::kInternal;
  std::string what;
  int sys_errno = 0;
};

template <typename T>
using Result = std::expected<T, Error>;
using Status = Result<void>;

template <typename... Args>
[[nodiscard]] std::unexpected<Error> make_error(Code code, fmt::format_string<Args...> format,
                                                Args&&... args) {
  return std::unexpected(Error{code, fmt::format(format, std::forward<Args>(args)...), 0});
}

// An Error for a failed system call: "<sentence>: <strerror>". The code follows the errno.
[[nodiscard]] Error errno_to_error(int sys_errno, std::string sentence);

// As errno_to_error, for the errno given first (pass `errno`, or `-result` of an io_uring call).
template <typename... Args>
[[nodiscard]] std::unexpected<Error> errno_error(int sys_errno, fmt::format_string<Args...> format,
                                                 Args&&... args) {
  return std::unexpected(
      errno_to_error(sys_errno, fmt::format(format, std::forward<Args>(args)...)));
}

// Puts "context: " in front of an error's sentence.
[[nodiscard]] std::unexpected<Error> add_context(Error error, std::string_view context);

[[noreturn]] void check_failed(const char* condition, const char* file, int line);

}  // namespace hozon

#define HOZON_CHECK(cond) \
  ((cond) ? static_cast<void>(0) : ::hozon::check_failed(#cond, __FILE__, __LINE__))

// In an ordinary function: the value of `expr`, or an early return with its error.
#define HOZON_TRY(expr)                                                                 \
  __extension__({                                                                       \
    auto hozon_try_result = (expr);                                                     \
    if (!hozon_try_result) return std::unexpected(std::move(hozon_try_result.error())); \
    *std::move(hozon_try_result);                                                       \
  })

#define HOZON_CONCAT_INNER(a, b) a##b
#define HOZON_CONCAT(a, b) HOZON_CONCAT_INNER(a, b)

// In a coroutine (GCC 12 cannot co_await inside a statement expression), as statements:
//   HOZON_CO_TRY(const auto x, co_await f());   declares x, or co_returns the error
//   HOZON_CO_CHECK(co_await g());               for a Status
#define HOZON_CO_TRY(decl, ...) \
  HOZON_CO_TRY_INNER(HOZON_CONCAT(hozon_co_try_, __LINE__), decl, __VA_ARGS__)
#define HOZON_CO_TRY_INNER(tmp, decl, ...)                     \
  auto tmp = __VA_ARGS__;                                      \
  if (!tmp) co_return std::unexpected(std::move(tmp.error())); \
  decl = *std::move(tmp)
#define HOZON_CO_CHECK(...)                                                              \
  do {                                                                                   \
    auto hozon_co_status = __VA_ARGS__;                                                  \
    if (!hozon_co_status) co_return std::unexpected(std::move(hozon_co_status.error())); \
  } while (false)
