// src/api/etag.h
// Entity tags: a record's answer names its content, so that a client can ask whether it changed
// (If-None-Match), and change only what it has seen (If-Match).
#pragma once

#include <string>
#include <string_view>

namespace hozon::api {

// A quoted strong tag of these bytes.
std::string etag_of(std::string_view body);
// Whether a header If-Match or If-None-Match names it ('*' names everything that exists).
bool names_etag(std::string_view header, std::string_view etag);

}  // namespace hozon::api
