// src/cli/plan.h
// How a plan looks: what a command would do, when --plan was given. And what a result tells.
#pragma once

#include <string>
#include <vector>

#include "client/types.h"

namespace hozon::cli {

// "setting memory: 512.0 MiB now, 256.0 MiB then", one for each that differs.
std::vector<std::string> settings_sentences(const client::Json& plan);

// The sentences of a result's member ("steps", "notes"), each in a line of its own below what
// stands before.
std::string sentences_text(const client::Json& result, const char* member);

// Everything about it, for people.
std::string plan_text(const client::Json& plan);

}  // namespace hozon::cli
