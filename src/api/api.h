// src/api/api.h
// The REST API of one instance. Resources are the control plane's values in the form of
// control/json.h; lists are {"items": [...]}; errors are problems (problem.h).
//
//   GET    /v1                                       name, version, directory
//   GET    /healthz | /metrics                       metrics.cc
//   GET    /v1/tokens                       POST     {name, rights: [text], expires_in_s}
//   DELETE /v1/tokens/{token}
//   GET    /v1/peers
//   PUT    /v1/peers/{user}                 DELETE   {rights: [text]}
//   GET    /v1/audit                                 newest first
//   GET    /v1/openapi.json                          OpenAPI 3.1 (description.h)
//   GET    /v1/events?kind= &object= &after=         server-sent events (events.cc)
//   GET    /v1/jobs                                  newest first
//   GET    /v1/jobs/{job}?wait_ms=                   answers when it ended, or after that time
//   POST   /v1/jobs/{job}/cancel
//   GET    /v1/pools                        POST     {name, size_bytes}
//   GET    /v1/pools/{pool}                 DELETE   ?force=
//   POST   /v1/pools/{pool}/check                    {data}
//   GET    /v1/volumes?pool=                POST     {name, pool, size_bytes, from}
//   GET    /v1/volumes/{volume}?pool=       DELETE   ?pool= &with_points=
//   GET    /v1/volumes/{volume}/uri?pool= &point=
//   GET    /v1/volumes/{volume}/points?pool= &all=
//   DELETE /v1/volumes/{volume}/points/{point}?pool=
//   POST   /v1/volumes/{volume}/resize?pool=         {size_bytes, allow_shrink}
//   POST   /v1/volumes/{volume}/snapshot?pool=       {name, with: [volume]}: one instant for all
//   POST   /v1/volumes/{volume}/clone?pool=          {point, new_name}
//   POST   /v1/volumes/{volume}/return?pool=         {point}
//   GET    /v1/machines                     POST     {name, description, pool, memory_bytes, cpus,
//                                                     disks: [{size_bytes, image}], nic_count,
//                                                     kernel, initrd, append}
//   GET    /v1/machines/{machine}           DELETE
//   POST   /v1/machines/{machine}/start              {paused}
//   POST   /v1/machines/{machine}/pause | resume | kill
//   POST   /v1/machines/{machine}/shutdown           {timeout_ms}
//   GET    /v1/machines/{machine}/snapshots?sizes=
//   POST   /v1/machines/{machine}/snapshots          {name, description, with_memory, disks: [id]}
//   POST   /v1/machines/{machine}/delete-snapshots   {snapshots: [name]}
//   GET    /v1/machines/{machine}/snapshots/{snapshot}                          DELETE
//   POST   /v1/machines/{machine}/snapshots/{snapshot}/return
//   POST   /v1/machines/{machine}/snapshots/{snapshot}/clone     {new_name}
//   POST   /v1/machines/{machine}/snapshots/{snapshot}/rename    {new_name}
//   POST   /v1/machines/{machine}/snapshots/{snapshot}/describe  {description}
//   GET    /v1/machines/{machine}/snapshots/{snapshot}/details
//   GET    /v1/machines/{machine}/snapshots/{snapshot}/filesystems
//   GET    /v1/machines/{machine}/snapshots/{snapshot}/files?place=             "vda1:/etc"
//   GET    /v1/machines/{machine}/snapshots/{snapshot}/content?place= &as=file|tar
//   POST   /v1/machines/{machine}/tag                {tags}
//   POST   /v1/machines/{machine}/initial            {snapshot}: "" for none
//   GET    /v1/machines/{machine}/sizes?snapshots=a,b
//   GET    /v1/pools/{pool}/sizes
//   GET    /v1/templates                    POST     {name, machine, snapshot, description}
//   GET    /v1/templates/{template}         DELETE
//   GET    /v1/groups                       POST     {name, machines, description, quiesce, tags,
//                                                     expires_in_s}
//   GET    /v1/groups/{group}               DELETE
//   POST   /v1/groups/{group}/return                 {state}
//   GET    /v1/schedules                    POST     {name, enabled, rule, zone, machines: {names,
//                                                     tags, states, all}, kind, retention: {last,
//                                                     within_s, hourly, daily, weekly, monthly,
//                                                     yearly}, jitter_s, parallel, catch_up}
//   GET    /v1/schedules/{schedule}         DELETE
//   GET    /v1/schedules/{schedule}/preview?runs= &until_ns= &machine=
//   POST   /v1/schedules/{schedule}/edit             what is there changes
//   POST   /v1/schedules/{schedule}/enable | disable | run
//
// Lists take &limit= &after= &fields=a,b and members to filter by (listing.h).
//
// Everything but GET (and cancel) makes a job: 202 with the job and its Location. With ?wait=true
// it is answered when the job has ended: 200 with the job's result, or the job's error as a problem
// that carries the job as member "job". An Idempotency-Key header makes a repetition harmless: the
// job of the first request is answered again.
#pragma once

#include <string>

#include "api/router.h"
#include "control/access.h"
#include "control/control.h"

namespace hozon::api {

inline constexpr std::string_view kVersion = "0.1.0";

struct ApiInfo {
  std::string version;
  std::string directory;
};

// `control` and `access` outlive the router. Without `access` everybody may do everything, and
// nothing is written down: for tests.
Router make_router(control::Control& control, const ApiInfo& info,
                   control::Access* access = nullptr);

}  // namespace hozon::api
