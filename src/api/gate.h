// src/api/gate.h
// Who a request comes from, what that one may do, and the note of it in the audit log. The router
// asks admit() before anything else happens and tells note() when the answer is known.
//
// A request with "Authorization: Bearer SECRET" is the token's. Without one it is the user's at the
// other end of the unix socket: the user of this process and root may do everything, others what
// their entry says. Over TCP there is no such user, so a token is needed.
// Who sends wrong tokens again and again is held up (wrong_tokens.h).
// /healthz is answered to everybody.
#pragma once

#include <optional>
#include <string>

#include "api/router.h"
#include "control/access.h"

namespace hozon::api {

// The right that a route asks for; what is not known here and changes something asks for admin.
control::Right right_of(const std::string& method, const std::string& pattern);

// `access` outlives the router.
Router::Gate make_gate(control::Access& access);

}  // namespace hozon::api
