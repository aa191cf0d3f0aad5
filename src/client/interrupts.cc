#include "client/interrupts.h"

namespace hozon::client {
namespace {

volatile std::sig_atomic_t interrupts = 0;

void count_one(int) { interrupts = interrupts + 1; }

}  // namespace

Interrupts::Interrupts() {
  interrupts = 0;
  ::sigaction(SIGINT, nullptr, &before_);
  if (before_.sa_handler == SIG_IGN) return;
  struct sigaction counted{};
  counted.sa_handler = count_one;  // without SA_RESTART, so that a waiting call returns at once
  ::sigaction(SIGINT, &counted, nullptr);
}

Interrupts::~Interrupts() { ::sigaction(SIGINT, &before_, nullptr); }

int Interrupts::count() const { return interrupts; }

}  // namespace hozon::client
