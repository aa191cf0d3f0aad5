// /v1/tokens, /v1/peers, /v1/audit: who may do what, and who did what. None of them is a job: they
// are done when they are answered.
#include "api/handlers.h"
#include "api/json_fields.h"

namespace hozon::api {
namespace {

using control::Access;

constexpr size_t kAuditShown = 10'000;

Result<Response> post_token(Access& access, const Request& request) {
  JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
  const std::string name = HOZON_TRY(fields.text("name"));
  const std::vector<std::string> names = HOZON_TRY(fields.texts_or_none("rights"));
  const unsigned rights = HOZON_TRY(control::rights_from_names(names));
  const uint64_t expires_in_s = HOZON_TRY(fields.number_or("expires_in_s", 0));
  HOZON_TRY(fields.finish());
  const Access::NewToken made =
      HOZON_TRY(access.create_token(name, rights, expires_in_s, request.peer));
  nlohmann::json body = control::to_json(made.token);
  body["secret"] = made.secret;  // here, and never again
  Response response = json_response(201, body);
  response.headers.emplace_back("Cache-Control", "no-store");
  return response;
}

Result<Response> put_peer(Access& access, const Request& request) {
  JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
  const std::vector<std::string> names = HOZON_TRY(fields.texts_or_none("rights"));
  const unsigned rights = HOZON_TRY(control::rights_from_names(names));
  HOZON_TRY(fields.finish());
  HOZON_TRY(access.set_peer(request.part("user"), rights));
  return json_response(200, control::to_json(control::Peer{request.part("user"), rights}));
}

}  // namespace

void add_access(Router& router, Access& access) {
  router.add({"GET", "/v1/tokens", {}, Body::kNone, [&access](const Request&) -> Result<Response> {
                return list_response(HOZON_TRY(access.tokens()));
              }});
  router.add({"POST", "/v1/tokens", {}, Body::kRequired, [&access](const Request& request) {
                return post_token(access, request);
              }});
  router.add({"DELETE",
              "/v1/tokens/{token}",
              {},
              Body::kNone,
              [&access](const Request& request) -> Result<Response> {
                const control::Token token = HOZON_TRY(access.revoke_token(request.part("token")));
                return json_response(200, control::to_json(token));
              }});
  router.add({"GET", "/v1/peers", {}, Body::kNone, [&access](const Request&) -> Result<Response> {
                return list_response(HOZON_TRY(access.peers()));
              }});
  router.add({"PUT", "/v1/peers/{user}", {}, Body::kRequired, [&access](const Request& request) {
                return put_peer(access, request);
              }});
  router.add({"DELETE",
              "/v1/peers/{user}",
              {},
              Body::kNone,
              [&access](const Request& request) -> Result<Response> {
                HOZON_TRY(access.remove_peer(request.part("user")));
                return json_response(200, nlohmann::json::object());
              }});
  router.add({"GET", "/v1/audit", {}, Body::kNone, [&access](const Request&) -> Result<Response> {
                return list_response(HOZON_TRY(access.audit(kAuditShown)));
              }});
}

}  // namespace hozon::api
