// src/control/at_once.h
// Work on several guests at once, so that one that is slow makes nobody wait longer than itself.
#pragma once

#include <cstddef>
#include <functional>

namespace hozon::control {

// work(0) ... work(count - 1), each in a thread of its own; returns when all have ended. Where no
// thread is to be had, one after the other.
void at_once(size_t count, const std::function<void(size_t)>& work);

}  // namespace hozon::control
