// Hostile HTTP clients. The parser gives the same requests, and refuses the same clients, however
// the bytes are cut into pieces. Which of two faults it names may differ, and when: an unfinished
// message may be seen to be broken at once, or when more of it has come.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "api/request_parser.h"
#include "base/result.h"

namespace {

using hozon::api::RequestParser;

struct Outcome {
  std::vector<std::string> bodies;
  int failure_status = 0;
  bool idle = false;
};

bool agree(const Outcome& a, const Outcome& b) {
  if (a.bodies != b.bodies) return false;
  const bool a_failed = a.failure_status != 0;
  const bool b_failed = b.failure_status != 0;
  if (a_failed == b_failed) return a.idle == b.idle;
  return a_failed ? !b.idle : !a.idle;
}

Outcome parse(std::string_view bytes, size_t piece) {
  RequestParser parser;
  Outcome outcome;
  const auto take_all = [&] {
    while (parser.state() == RequestParser::State::kDone) {
      (void)parser.take_wants_continue();
      outcome.bodies.push_back(parser.take().body);
    }
  };
  while (!bytes.empty() && parser.state() != RequestParser::State::kFailed) {
    const std::string_view next = bytes.substr(0, std::min(piece, bytes.size()));
    bytes.remove_prefix(next.size());
    parser.feed(next);
    take_all();
  }
  outcome.failure_status = parser.failure_status();
  outcome.idle = outcome.failure_status == 0 && parser.idle();
  if (parser.state() == RequestParser::State::kFailed) {
    HOZON_CHECK(outcome.failure_status >= 400 && outcome.failure_status < 600);
  }
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), std::min<size_t>(size, 8192));
  const Outcome whole = parse(bytes, bytes.size() + 1);
  HOZON_CHECK(agree(parse(bytes, 1), whole));
  HOZON_CHECK(agree(parse(bytes, 7), whole));
  return 0;
}
