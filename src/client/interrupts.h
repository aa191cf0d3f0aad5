// src/client/interrupts.h
// Counts Ctrl-C while it lives, instead of letting it end the program. One at a time: signals are
// the process's own. A SIGINT that was ignored before (nohup, a background job) stays ignored.
#pragma once

#include <csignal>

namespace hozon::client {

class Interrupts {
 public:
  Interrupts();
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;
  int count() const;

 private:
  struct sigaction before_{};
};

}  // namespace hozon::client
