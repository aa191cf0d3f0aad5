#include "cli/context.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string_view>

#include "base/units.h"
#include "cli/sentences.h"
#include "client/unix_connect.h"

namespace hozon::cli {
namespace {

constexpr int64_t kBarDelayMs = 300;

bool smart_terminal(int fd) {
  const char* term = std::getenv("TERM");
  return ::isatty(fd) == 1 && term != nullptr && std::string_view(term) != "dumb";
}

bool wants_colour() {
  const char* no_colour = std::getenv("NO_COLOR");
  return smart_terminal(STDOUT_FILENO) && (no_colour == nullptr || *no_colour == '\0');
}

// Of standard output; 0 when that is no terminal.
size_t output_columns() {
  winsize size{};
  if (!smart_terminal(STDOUT_FILENO) || ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return 0;
  return size.ws_col;
}

size_t terminal_columns() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 20) return 80;
  return size.ws_col;
}

}  // namespace

ExitCode exit_code_of(Code code) {
  switch (code) {
    case Code::kInvalidArgument: return ExitCode::kUsage;
    case Code::kNotFound: return ExitCode::kNotFound;
    case Code::kAlreadyExists:
    case Code::kBusy:
    case Code::kWrongState: return ExitCode::kConflict;
    default: return ExitCode::kFailed;
  }
}

std::string progress_line(const client::Job& job, size_t columns) {
  constexpr size_t kBarWidth = 24;
  std::string line;
  if (job.progress_total > 0) {
    const uint64_t done = std::min(job.progress_done, job.progress_total);
    const double share = static_cast<double>(done) / static_cast<double>(job.progress_total);
    const auto filled = static_cast<size_t>(share * kBarWidth);
    line =
        fmt::format("[{}{}] {:3}%  {}  ", std::string(filled, '#'),
                    std::string(kBarWidth - filled, ' '), static_cast<int>(share * 100),
                    say_filled("{} of {}", format_bytes(done), format_bytes(job.progress_total)));
    if (job.eta_ms) line += say_filled("{} left", duration_text(*job.eta_ms * 1000)) + "  ";
  }
  line += printable(job.step.empty() ? job.kind : say_sentence(job.step));
  // The last column stays free: some terminals begin a new line when it is written.
  return columns > 1 ? cut_to_width(line, columns - 1) : "";
}

void ProgressBar::update(const client::Job& job) {
  if (!enabled_) return;
  const int64_t now_ms = client::monotonic_ms();
  if (job.id != job_) {
    job_ = job.id;
    began_ms_ = now_ms;
  }
  if (job.is_ended()) {
    clear();
    return;
  }
  if (now_ms - began_ms_ < kBarDelayMs) return;
  fmt::print(stderr, "\r\x1b[K{}", progress_line(job, terminal_columns()));
  std::fflush(stderr);
  shown_ = true;
}

void ProgressBar::clear() {
  if (!shown_) return;
  fmt::print(stderr, "\r\x1b[K");
  std::fflush(stderr);
  shown_ = false;
}

namespace {

std::string environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

client::Client client_at(const std::string& url, const std::string& directory) {
  if (url.empty()) return client::Client(directory);
  client::Address address = client::parse_address_url(url).value_or(client::Address{});
  address.authorities = environment("HOZON_CACERT");
  return {url, address, environment("HOZON_TOKEN")};
}

Context::Context(const Arguments& args)
    : directory_(absolute_path(args.directory)),
      printer_(args.format, wants_colour(), output_columns()),
      interactive_(::isatty(STDIN_FILENO) == 1 && ::isatty(STDERR_FILENO) == 1),
      bar_(smart_terminal(STDERR_FILENO)),
      client_(client_at(args.url, directory_)) {
  if (args.plan) client_.plan_only();
  if (args.no_wait) client_.leave_jobs();
  client_.on_interrupt([this](const std::string& sentence) {
    bar_.clear();
    fmt::print(stderr, "hozon: {}\n", printable(say_sentence(sentence)));
  });
  client_.on_progress([this](const client::Job& job) { bar_.update(job); });
}

bool Context::ask(const Arguments& args, const std::string& question) {
  if (args.yes || args.plan || !interactive_) return true;
  fmt::print(stderr, "{} [y/N] ", printable(question));
  std::fflush(stderr);
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "Y" || answer == "yes" || answer == "はい";
}

void Context::remark_that(const std::string& text) {
  if (printer_.format() == Format::kTable || interactive_)
    fmt::print(stderr, "hozon: {}\n", printable(text));
}

Result<Address> parse_address(const std::string& text) {
  const size_t at = text.find('@');
  Address address{text.substr(0, at), at == std::string::npos ? "" : text.substr(at + 1)};
  if (address.volume.empty() || (at != std::string::npos && address.point.empty()))
    return make_error(Code::kInvalidArgument, "'{}' is not VOLUME or VOLUME@POINT", text);
  return address;
}

std::string absolute_path(const std::string& path) {
  if (path.empty()) return path;
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  std::string text = (error ? std::filesystem::path(path) : absolute).lexically_normal().string();
  while (text.size() > 1 && text.ends_with('/')) text.pop_back();
  return text;
}

}  // namespace hozon::cli
