// src/serve/nbd_handshake.h
// The first phase of an NBD connection: fixed newstyle option haggling, until the client has chosen
// an export or goes away.
//
// Bad options are answered with an error and the haggling goes on; bytes that are no options at all
// end the connection. Limits are in nbd_protocol.h; who is too slow is ended by NbdServer.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/loop.h"
#include "serve/backend.h"
#include "serve/input.h"
#include "serve/nbd_options.h"
#include "serve/nbd_protocol.h"

namespace hozon::serve::nbd {

// A metadata context that the client has selected for block status.
struct Context {
  uint32_t id = 0;
  std::string name;
  std::optional<uint64_t> changed_since;  // a point of the session; none: base:allocation
};

struct Negotiated {
  std::string name;
  std::unique_ptr<Session> session;
  bool structured = false;
  std::vector<Context> contexts;
};

uint16_t transmission_flags(const Session& session, bool structured);

class Handshake {
 public:
  Handshake(Loop& loop, int fd, Input& input, Backend& backend)
      : loop_(loop), fd_(fd), input_(input), backend_(backend) {}
  // Nothing: the client has left, or was sent away.
  Task<std::optional<Negotiated>> run();

 private:
  enum class Next { kOption, kTransmission, kEnd };

  Task<bool> greet();
  Task<Next> handle_option();
  Task<bool> receive_option(OptionHeader header);
  Task<bool> send_answer();

  // Each appends its answer to answer_.
  Next answer(uint32_t option);
  Next answer_export_name();
  void answer_list();
  Next answer_info(uint32_t option);
  void add_infos(const InfoRequest& request, uint64_t size_bytes);
  void answer_structured_reply();
  void answer_list_contexts();
  void answer_set_contexts();
  void add_context_reply(uint32_t id, const std::string& name);
  Result<ContextRequest> context_request();

  void reply(uint32_t type, std::span<const std::byte> data = {});
  void refuse(uint32_t type, std::string_view reason);
  void refuse(const Error& error);
  Result<uint64_t> choose(const std::string& name);

  Loop& loop_;
  int fd_;
  Input& input_;
  Backend& backend_;
  bool fixed_newstyle_ = false;
  bool no_zeroes_ = false;
  uint32_t option_ = 0;
  std::vector<std::byte> data_;    // of the option at hand
  std::vector<std::byte> answer_;  // to it
  std::string context_export_;     // that the contexts belong to
  Negotiated chosen_;
};

}  // namespace hozon::serve::nbd
