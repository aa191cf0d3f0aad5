#include "base/units.h"

#include <array>
#include <charconv>
#include <cmath>

namespace hozon {

Result<uint64_t> parse_bytes(std::string_view text) {
  const auto bad = [&] {
    return make_error(Code::kInvalidArgument,
                      "'{}' is not a size; use a number with K, M, G or T, such as 10G", text);
  };
  double number = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (error != std::errc{} || number < 0) return bad();
  std::string_view suffix = text.substr(static_cast<size_t>(end - text.data()));
  int shift = 0;
  if (!suffix.empty()) {
    constexpr std::string_view kLetters = "KMGTP";
    const char letter = suffix[0] >= 'a' ? static_cast<char>(suffix[0] - 'a' + 'A') : suffix[0];
    const size_t index = kLetters.find(letter);
    if (index != std::string_view::npos) {
      shift = static_cast<int>(10 * (index + 1));
      suffix.remove_prefix(1);
    }
    if (suffix != "" && suffix != "iB" && suffix != "B" && suffix != "b" && suffix != "ib")
      return bad();
  }
  const double bytes = std::ldexp(number, shift);
  if (!(bytes < 9.2e18)) return bad();
  return static_cast<uint64_t>(bytes);
}

std::string format_bytes(uint64_t bytes) {
  constexpr std::array kNames = {"KiB", "MiB", "GiB", "TiB", "PiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  while (value >= 1023.95 && unit + 1 < kNames.size()) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{:.1f} {}", value, kNames[unit]);
}

}  // namespace hozon
