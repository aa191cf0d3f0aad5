// src/api/handlers.h
// What the handlers of all resources share. Each add_*() puts the routes of one resource in place.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>

#include "api/listing.h"
#include "api/router.h"
#include "control/access.h"
#include "control/control.h"
#include "control/json.h"

namespace hozon::api {

inline constexpr size_t kIdempotencyKeyMax = 128;

void add_pools(Router& router, control::Control& control);
void add_volumes(Router& router, control::Control& control);
void add_machines(Router& router, control::Control& control);
void add_snapshots(Router& router, control::Control& control);
void add_files(Router& router, control::Control& control);
void add_collections(Router& router, control::Control& control);
void add_schedules(Router& router, control::Control& control);
void add_jobs(Router& router, control::Control& control);
void add_events(Router& router, control::Control& control);
void add_access(Router& router, control::Access& access);
// Takes the router's counters.
void add_metrics(Router& router, control::Control& control, std::string_view version);

Response json_response(int status, const nlohmann::json& body);

// "true"/"1"/"" (the bare word) or "false"/"0"; absent is false.
Result<bool> query_flag(const Request& request, std::string_view word);

// Refuses a relative path: the daemon's working directory is nobody's business. Empty stays empty.
Result<std::string> absolute_path(std::string path, std::string_view field);

// Registers a route whose handler starts a job. It gets the request and who calls; the
// answer is 202 or, with ?wait=true, comes when the job has ended. With ?plan=true nothing is
// begun, and the answer says what would be.
using JobStarter =
    std::function<Result<control::JobId>(const Request& request, const control::Caller& caller)>;
void add_job_route(Router& router, control::Control& control, std::string method,
                   std::string pattern, std::vector<std::string> query, Body body,
                   JobStarter start);

}  // namespace hozon::api
