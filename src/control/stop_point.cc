#include "control/stop_point.h"

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <thread>

namespace hozon::control {
namespace {

struct Counters {
  std::mutex mutex;
  std::map<std::string, int> passed;
};

Counters& counters() {
  static Counters all;
  return all;
}

const char* stops_file() {
  static const char* const file = std::getenv("HOZON_TEST_STOPS");
  return file;
}

void hold(const std::string& go_file) {
  std::error_code error;
  while (!std::filesystem::exists(go_file, error))
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
}

// The first order, when it is due, is taken out of the file before it is obeyed.
void obey(const std::string& file, const std::string& where, int number) {
  std::ifstream orders(file);
  std::string line;
  if (!std::getline(orders, line)) return;
  const std::string due = " " + where + " " + std::to_string(number);
  if (line != "kill" + due && line != "hold" + due) return;
  std::string rest;
  for (std::string next; std::getline(orders, next);) rest += next + "\n";
  std::error_code error;
  if (rest.empty())
    std::filesystem::remove(file, error);
  else
    std::ofstream(file) << rest;
  if (line[0] == 'k') ::kill(::getpid(), SIGKILL);
  hold(file + ".go");
}

}  // namespace

void begin_stop_points(const std::string& where) {
  if (stops_file() == nullptr) return;
  {
    const std::lock_guard guard(counters().mutex);
    counters().passed[where] = 0;
  }
  stop_point(where);
}

void stop_point(const std::string& where) {
  if (stops_file() == nullptr) return;
  int number = 0;
  {
    const std::lock_guard guard(counters().mutex);
    number = ++counters().passed[where];
  }
  obey(stops_file(), where, number);
}

}  // namespace hozon::control
