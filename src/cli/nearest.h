// src/cli/nearest.h
// What somebody meant who mistyped a word.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hozon::cli {

// How many letters have to be inserted, removed, replaced or swapped with their neighbour.
size_t typing_distance(std::string_view a, std::string_view b);
// The candidate that is nearest, when it is near enough to be meant; otherwise empty.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);
// "; did you mean 'create'?", or empty.
std::string suggestion(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace hozon::cli
