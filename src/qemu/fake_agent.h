// src/qemu/fake_agent.h
// For tests: a guest agent that is a script, at the other end of a socket of its own. It serves one
// client, until that leaves.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "base/fd.h"

namespace hozon {

class FakeAgent {
 public:
  // Each line that the client sends, without its end; what is returned is sent as it is.
  using Script = std::function<std::string(const std::string& line)>;
  explicit FakeAgent(Script script) : script_(std::move(script)) {
    static int number = 0;
    path_ = testing::TempDir() + "agent-" + std::to_string(::getpid()) + "-" +
            std::to_string(++number) + ".sock";
    ::unlink(path_.c_str());
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof(address.sun_path) - 1);
    listener_ = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)),
              0);
    EXPECT_EQ(::listen(listener_.get(), 1), 0);
    thread_ = std::jthread([this](const std::stop_token& ended) { serve(ended); });
  }
  ~FakeAgent() {
    thread_.request_stop();
    thread_.join();
    ::unlink(path_.c_str());
  }
  const std::string& path() const { return path_; }

  // The request in a line, which a byte 0xff may begin; discarded when it is none.
  static nlohmann::json request_in(const std::string& line) {
    return nlohmann::json::parse(line.substr(std::min(line.find('{'), line.size())), nullptr,
                                 false);
  }
  // A proper answer to the synchronisation.
  static std::string synced(const std::string& line) {
    return "\xff" + nlohmann::json{{"return", request_in(line)["arguments"]["id"]}}.dump() + "\n";
  }

 private:
  void serve(const std::stop_token& ended) {
    Fd peer;
    std::string heard;
    while (!ended.stop_requested()) {
      pollfd waiting{peer ? peer.get() : listener_.get(), POLLIN, 0};
      if (::poll(&waiting, 1, 10) != 1) continue;
      if (!peer) {
        peer = Fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        continue;
      }
      char part[4096];
      const ssize_t got = ::recv(peer.get(), part, sizeof(part), 0);
      if (got <= 0) return;
      heard.append(part, static_cast<size_t>(got));
      for (size_t end = 0; (end = heard.find('\n')) != std::string::npos;) {
        const std::string line = heard.substr(0, end);
        heard.erase(0, end + 1);
        const std::string answer = script_(line);
        (void)::send(peer.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
      }
    }
  }

  Script script_;
  std::string path_;
  Fd listener_;
  std::jthread thread_;
};

}  // namespace hozon
