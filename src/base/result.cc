#include "base/result.h"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace hozon {
namespace {

struct CodeName {
  Code code;
  std::string_view name;
};

constexpr std::array kCodeNames = {
    CodeName{Code::kInvalidArgument, "invalid_argument"},
    CodeName{Code::kNotFound, "not_found"},
    CodeName{Code::kAlreadyExists, "already_exists"},
    CodeName{Code::kBusy, "busy"},
    CodeName{Code::kWrongState, "wrong_state"},
    CodeName{Code::kResourceExhausted, "resource_exhausted"},
    CodeName{Code::kPermissionDenied, "permission_denied"},
    CodeName{Code::kUnavailable, "unavailable"},
    CodeName{Code::kCorruption, "corruption"},
    CodeName{Code::kIo, "io"},
    CodeName{Code::kUnimplemented, "unimplemented"},
    CodeName{Code::kInternal, "internal"},
    CodeName{Code::kCancelled, "cancelled"},
};

Code code_of_errno(int sys_errno) {
  switch (sys_errno) {
    case ENOENT: return Code::kNotFound;
    case EEXIST: return Code::kAlreadyExists;
    case EBUSY:
    case EAGAIN: return Code::kBusy;
    case ENOSPC:
    case EDQUOT:
    case ENOMEM:
    case EMFILE: return Code::kResourceExhausted;
    case EACCES:
    case EPERM: return Code::kPermissionDenied;
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
    case ETIMEDOUT: return Code::kUnavailable;
    case EINVAL: return Code::kInvalidArgument;
    default: return Code::kIo;
  }
}

}  // namespace

std::string_view code_name(Code code) {
  for (const CodeName& entry : kCodeNames)
    if (entry.code == code) return entry.name;
  return "internal";
}

Code code_from_name(std::string_view name) {
  for (const CodeName& entry : kCodeNames)
    if (entry.name == name) return entry.code;
  return Code::kInternal;
}

Error errno_to_error(int sys_errno, std::string sentence) {
  sentence += ": ";
  sentence += std::strerror(sys_errno);
  return Error{code_of_errno(sys_errno), std::move(sentence), sys_errno};
}

std::unexpected<Error> add_context(Error error, std::string_view context) {
  error.what = fmt::format("{}: {}", context, error.what);
  return std::unexpected(std::move(error));
}

void check_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "hozon: internal check failed: %s (%s:%d)\n", condition, file, line);
  std::abort();
}

}  // namespace hozon
