// src/api/router.h
// Finds the handler of a request by method and path, and refuses what no route takes.
//
// A pattern is literal parts and {named} parts: "/v1/machines/{machine}/snapshots/{snapshot}".
// A named part is never empty, is percent-decoded and valid UTF-8. Refusals, before the handler:
//   404 no such path · 405 with Allow · 400 malformed target, unknown query word ·
//   411 a body is required and no length is given · 415 a body that is not application/json.
// Routes are added before serving; afterwards any thread may call answer().
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/http_message.h"
#include "base/result.h"

namespace hozon::api {

enum class Body { kNone, kOptional, kRequired };

class Router {
 public:
  struct Route {
    std::string method;
    std::string pattern;
    std::vector<std::string> query;  // the words that it understands
    Body body = Body::kNone;
    std::function<Result<Response>(const Request&)> handler;
  };
  void add(Route route);
  Response answer(Request& request) const;

 private:
  struct Compiled {
    Route route;
    std::vector<std::string> parts;
  };
  std::vector<Compiled> routes_;
};

// "/a/b%20c?x=1&y" -> {"a", "b c"} and {x: "1", y: ""}. kInvalidArgument when malformed.
struct Target {
  std::vector<std::string> parts;
  TextMap query;
};
Result<Target> parse_target(std::string_view target);

}  // namespace hozon::api
