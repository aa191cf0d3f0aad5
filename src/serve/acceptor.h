// src/serve/acceptor.h
// Takes clients from one listening socket until it is ended.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/fd.h"
#include "io/loop.h"

namespace hozon::serve {

class Acceptor {
 public:
  using OnClient = std::function<void(Fd)>;
  // `what` names the clients in the log: "NBD".
  Acceptor(Loop& loop, Fd listener, std::string what, OnClient on_client)
      : loop_(loop),
        listener_(std::move(listener)),
        what_(std::move(what)),
        on_client_(std::move(on_client)) {}
  // Returns after end().
  Task<void> run();
  void end();

 private:
  Loop& loop_;
  Fd listener_;
  std::string what_;
  OnClient on_client_;
  std::unique_ptr<Loop::Awaiter> accepting_;  // null: not waiting for a client
  bool ended_ = false;
};

}  // namespace hozon::serve
