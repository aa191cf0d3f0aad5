// Proves: a request reaches the handler of its method and path with decoded parts, and every other
// one gets the right refusal; JSON bodies are read strictly, by name.
#include "api/router.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "api/json_fields.h"
#include "api/problem.h"

namespace hozon::api {
namespace {

Router sample() {
  Router router;
  const auto echo = [](const Request& request) -> Result<Response> {
    Response response;
    for (const auto& [name, value] : request.parts) response.body += name + "=" + value + ";";
    return response;
  };
  router.add({"GET", "/v1/things", {"state"}, Body::kNone, echo});
  router.add({"POST", "/v1/things", {"wait"}, Body::kRequired, echo});
  router.add({"GET", "/v1/things/{machine}", {}, Body::kNone, echo});
  router.add({"DELETE", "/v1/things/{machine}", {}, Body::kNone, echo});
  router.add(
      {"POST", "/v1/things/{machine}/snapshots/{snapshot}/return", {}, Body::kOptional, echo});
  router.add({"GET", "/v1/fail", {}, Body::kNone, [](const Request&) -> Result<Response> {
                return make_error(Code::kBusy, "pool 'main' is \"busy\" \xff");
              }});
  return router;
}

Response ask(std::string method, std::string target, std::string body = "",
             std::string type = "application/json") {
  Request request;
  request.method = std::move(method);
  request.target = std::move(target);
  request.has_length = !body.empty();
  request.body = std::move(body);
  if (!type.empty()) request.headers.emplace_back("content-type", type);
  return sample().answer(request);
}

TEST(Router, DecodesNamedParts) {
  EXPECT_EQ(ask("GET", "/v1/things/a%2Fb%20%e4%bf%9d").body, "machine=a/b \xe4\xbf\x9d;");
  EXPECT_EQ(ask("POST", "/v1/things/m/snapshots/s%40/return").body, "machine=m;snapshot=s@;");
}

TEST(Router, APlusIsASpaceInAQueryAndItselfInAPath) {
  EXPECT_EQ(ask("GET", "/v1/things/a+b").body, "machine=a+b;");
  const auto target = parse_target("/v1/things?state=a+b%2bc&x+y=");
  ASSERT_TRUE(target);
  EXPECT_EQ(target->query.at("state"), "a b+c");
  EXPECT_TRUE(target->query.contains("x y"));
}

TEST(Router, RefusesWithTheRightStatus) {
  EXPECT_EQ(ask("GET", "/v1/things?state=up").status, 200);
  EXPECT_EQ(ask("GET", "/v1/nothing").status, 404);
  EXPECT_EQ(ask("GET", "/v1/things/").status, 404);
  EXPECT_EQ(ask("GET", "v1/machines").status, 400);
  EXPECT_EQ(ask("GET", "*").status, 400);
  EXPECT_EQ(ask("GET", "/v1/things/%zz").status, 400);
  EXPECT_EQ(ask("GET", "/v1/things/%4").status, 400);
  EXPECT_EQ(ask("GET", "/v1/things/a%00b").status, 400);
  EXPECT_EQ(ask("GET", "/v1/things/%ff").status, 400);
  EXPECT_EQ(ask("GET", "/v1/things/%ed%a0%80").status, 400);
  EXPECT_EQ(ask("GET", "/v1/things?stat=up").status, 400);
  EXPECT_EQ(ask("GET", "/v1/things?state=a&state=b").status, 400);
  EXPECT_EQ(ask("POST", "/v1/things").status, 411);
  EXPECT_EQ(ask("POST", "/v1/things", "{}", "text/plain").status, 415);
  EXPECT_EQ(ask("POST", "/v1/things", "{}", "").status, 415);
  EXPECT_EQ(ask("POST", "/v1/things", "{}", "Application/JSON; charset=utf-8").status, 200);
  EXPECT_EQ(ask("GET", "/v1/things", "{}").status, 400);
  const Response response = ask("PATCH", "/v1/things/m");
  EXPECT_EQ(response.status, 405);
  ASSERT_EQ(response.headers.size(), 1U);
  EXPECT_EQ(response.headers[0].second, "GET, DELETE");
}

TEST(Router, ErrorsBecomeProblems) {
  const Response response = ask("GET", "/v1/fail");
  EXPECT_EQ(response.status, 409);
  EXPECT_EQ(response.content_type, "application/problem+json");
  const auto body = nlohmann::json::parse(response.body);
  EXPECT_EQ(body["code"], "busy");
  EXPECT_EQ(body["status"], 409);
  EXPECT_EQ(body["title"], "Conflict");
  EXPECT_EQ(body["type"], "urn:hozon:problem:busy");
  EXPECT_EQ(body["detail"], "pool 'main' is \"busy\" \xef\xbf\xbd");
}

TEST(Problem, EveryCodeHasAStatus) {
  EXPECT_EQ(http_status(Code::kInvalidArgument), 400);
  EXPECT_EQ(http_status(Code::kPermissionDenied), 403);
  EXPECT_EQ(http_status(Code::kNotFound), 404);
  EXPECT_EQ(http_status(Code::kAlreadyExists), 409);
  EXPECT_EQ(http_status(Code::kBusy), 409);
  EXPECT_EQ(http_status(Code::kWrongState), 409);
  EXPECT_EQ(http_status(Code::kCancelled), 409);
  EXPECT_EQ(http_status(Code::kUnimplemented), 501);
  EXPECT_EQ(http_status(Code::kUnavailable), 503);
  EXPECT_EQ(http_status(Code::kResourceExhausted), 507);
  EXPECT_EQ(http_status(Code::kCorruption), 500);
}

TEST(HttpMessage, HeaderValuesCannotBreakTheLine) {
  Response response;
  response.headers.emplace_back("Location", "/v1/jobs/1\r\nX-Evil: 1");
  EXPECT_EQ(serialize(response, true).find("\r\nX-Evil"), std::string::npos);
}

std::string read_error(std::string_view body) {
  auto fields = JsonFields::parse(body);
  if (!fields) return fields.error().what;
  auto name = fields->text("name");
  if (!name) return name.error().what;
  auto size = fields->number_or("size_bytes", 7);
  if (!size) return size.error().what;
  auto flag = fields->flag_or("memory", false);
  if (!flag) return flag.error().what;
  auto list = fields->texts_or_none("disks");
  if (!list) return list.error().what;
  auto finished = fields->finish();
  return finished ? "" : finished.error().what;
}

TEST(JsonFields, NamesWhatIsWrong) {
  EXPECT_EQ(read_error(R"({"name":"a","size_bytes":5,"memory":true,"disks":["x"]})"), "");
  EXPECT_EQ(read_error(R"({"name":"a","size_bytes":null})"), "");
  EXPECT_EQ(read_error(R"({})"), "field 'name' of the request is missing");
  EXPECT_EQ(read_error(""), "field 'name' of the request is missing");
  EXPECT_EQ(read_error(R"({"name":5})"), "field 'name' of the request must be text, not a number");
  EXPECT_EQ(read_error(R"({"name":"a","size_bytes":"5"})"),
            "field 'size_bytes' of the request must be a whole number of zero or more, not text");
  EXPECT_EQ(read_error(R"({"name":"a","size_bytes":-5})"),
            "field 'size_bytes' of the request must be a whole number of zero or more");
  EXPECT_EQ(read_error(R"({"name":"a","memory":1})"),
            "field 'memory' of the request must be true or false, not a number");
  EXPECT_EQ(read_error(R"({"name":"a","disks":"vda"})"),
            "field 'disks' of the request must be a list of texts, not text");
  EXPECT_EQ(read_error(R"({"name":"a","siez":1})"),
            "unknown field 'siez' in the request; known are name, size_bytes, memory, disks");
  EXPECT_EQ(read_error(R"({"name":"a","name":"b"})"), "the JSON field 'name' is there twice");
  EXPECT_EQ(read_error("[]"), "the request must be a JSON object, not a list");
  EXPECT_NE(read_error("{\"name\":").find("is not JSON"), std::string::npos);
  EXPECT_NE(read_error("{\"name\":\"\xff\"}").find("is not JSON"), std::string::npos);
  EXPECT_EQ(read_error(R"({"name":"a\u0000b"})"), "field 'name' of the request has a zero byte");
}

TEST(JsonFields, DepthIsBounded) {
  EXPECT_TRUE(parse_json(std::string(kJsonDepthMax, '[') + std::string(kJsonDepthMax, ']')));
  EXPECT_FALSE(
      parse_json(std::string(kJsonDepthMax + 1, '[') + std::string(kJsonDepthMax + 1, ']')));
  EXPECT_FALSE(parse_json(std::string(500'000, '[')));
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += R"({"a":)";
  EXPECT_FALSE(parse_json(objects));
}

}  // namespace
}  // namespace hozon::api
