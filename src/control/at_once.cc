#include "control/at_once.h"

#include <system_error>
#include <thread>
#include <vector>

namespace hozon::control {

void at_once(size_t count, const std::function<void(size_t)>& work) {
  std::vector<std::jthread> threads;  // joined when it goes
  for (size_t i = 1; i < count; ++i) {
    try {
      threads.emplace_back([&work, i] { work(i); });
    } catch (const std::system_error&) {
      work(i);
    }
  }
  if (count > 0) work(0);
}

}  // namespace hozon::control
