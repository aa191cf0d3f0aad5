// src/api/router.h
// Finds the handler of a request by method and path, and refuses what no route takes.
//
// A pattern is literal parts and {named} parts: "/v1/machines/{machine}/snapshots/{snapshot}".
// A named part is never empty, is percent-decoded and valid UTF-8. Refusals, before the handler:
//   404 no such path · 405 with Allow · 400 malformed target, unknown query word ·
//   400 a field of the body that its description does not have, or that is too large ·
//   411 a body is required and no length is given · 415 a body that is not application/json.
//   412 If-Match names no present state of the record that the path is about.
// Answers to GET have an ETag, and If-None-Match is heeded (304); lists have pages and filters
// (listing.h).
// Routes are added before serving; afterwards any thread may call answer().
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/http_counters.h"
#include "api/http_message.h"
#include "base/result.h"

namespace hozon::api {

struct RouteDescription;  // description.h

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

  // Who may come in, and who is told how it ended (gate.h). Before anything else of the request is
  // looked at; not for paths that no route has.
  struct Gate {
    std::function<std::optional<Response>(Request&, const Route&)> admit = {};
    std::function<void(const Request&, const Route&, const Response&)> note = {};
  };
  void set_gate(Gate gate) { gate_ = std::move(gate); }
  // Lets nobody else change anything while the result lives: If-Match is looked at and the change
  // begun as one step.
  void set_hold(std::function<std::shared_ptr<void>()> hold) { hold_ = std::move(hold); }
  // Of all that was answered.
  std::shared_ptr<HttpCounters> counters() const { return counters_; }
  Response answer(Request& request) const;  // and counts it
  std::vector<const Route*> routes() const;

 private:
  struct Compiled {
    Route route;
    std::vector<std::string> parts;
    const RouteDescription* description = nullptr;  // its body has to fit, when there is one
  };
  const Compiled* find(std::string_view method, const std::vector<std::string>& parts,
                       std::string& allow) const;
  Response find_answer(Request& request) const;
  Response run(const Compiled& entry, Request& request,
               const std::vector<std::string>& parts) const;
  std::optional<Response> refuse_changed(const Request& request,
                                         const std::vector<std::string>& parts) const;
  std::vector<Compiled> routes_;
  Gate gate_;
  std::function<std::shared_ptr<void>()> hold_ = [] { return nullptr; };
  std::shared_ptr<HttpCounters> counters_ = std::make_shared<HttpCounters>();
};

// "/a/b%20c?x=1&y" -> {"a", "b c"} and {x: "1", y: ""}. kInvalidArgument when malformed.
struct Target {
  std::vector<std::string> parts;
  TextMap query;
};
Result<Target> parse_target(std::string_view target);

}  // namespace hozon::api
