// src/base/log.h
// One line per event to standard error: "2026-01-31T12:00:00.123Z level program: text".
// Any thread. Text from outside is escaped by the writer, so a line stays one line.
#pragma once

#include <fmt/format.h>

#include <string_view>

namespace hozon {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

// Call once at the start of main. Default: level info, program "hozon".
void log_start(std::string_view program, LogLevel least);
void log_text(LogLevel level, std::string_view text);

template <typename... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  log_text(LogLevel::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
  log_text(LogLevel::kWarning, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_error(fmt::format_string<Args...> format, Args&&... args) {
  log_text(LogLevel::kError, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace hozon
