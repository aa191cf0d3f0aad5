// src/serve/server_fixture.h
// For tests: an NBD server over a MemoryBackend on a thread of its own, and a client that says
// exactly the bytes it is told to, with a deadline for everything.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <functional>
#include <future>
#include <mutex>
#include <thread>

#include "serve/memory_backend.h"
#include "serve/nbd_server.h"

namespace hozon::serve {

class ServerThread {
 public:
  explicit ServerThread(LoopBackend kind, NbdServer::Limits limits = {}) {
    std::promise<void> ready;
    thread_ = std::thread([&] { run(kind, limits, ready); });
    ready.get_future().wait();
  }
  ~ServerThread() {
    if (thread_.joinable()) stop();
  }
  // Runs `what` on the loop's thread and waits for it.
  void call(std::function<void(MemoryBackend&, NbdServer&)> what) {
    std::promise<void> done;
    post([&] {
      what(*backend_, *server_);
      done.set_value();
    });
    done.get_future().wait();
  }
  Fd connect() {
    std::array<int, 2> pair{};
    HOZON_CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) == 0);
    call([&](MemoryBackend&, NbdServer& server) { server.serve(Fd(pair[1])); });
    return Fd(pair[0]);
  }
  size_t connections() {
    size_t count = 0;
    call([&](MemoryBackend&, NbdServer& server) { count = server.connections(); });
    return count;
  }
  // Waits until no connection is left; false after ten seconds.
  bool idle() {
    for (int i = 0; i < 1000; ++i) {
      if (connections() == 0) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }
  void stop() {
    post([] {}, true);
    thread_.join();
  }

 private:
  void run(LoopBackend kind, NbdServer::Limits limits, std::promise<void>& ready) {
    loop_ = *Loop::create(kind);
    backend_ = std::make_unique<MemoryBackend>(*loop_);
    server_ = std::make_unique<NbdServer>(*loop_, *backend_, limits);
    wake_ = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    spawn(serve_calls());
    ready.set_value();
    loop_->run();
    server_.reset();
    backend_.reset();
    loop_.reset();
  }
  Task<void> serve_calls() {
    for (bool ending = false; !ending;) {
      co_await loop_->poll_in(wake_.get());
      uint64_t count = 0;
      [[maybe_unused]] const ssize_t got = ::read(wake_.get(), &count, sizeof count);
      std::vector<std::function<void()>> calls;
      {
        const std::lock_guard lock(mutex_);
        calls.swap(calls_);
        ending = ending_;
      }
      for (const auto& each : calls) each();
    }
    co_await server_->stop();
    loop_->stop();
  }
  void post(std::function<void()> call, bool ending = false) {
    {
      const std::lock_guard lock(mutex_);
      calls_.push_back(std::move(call));
      ending_ = ending_ || ending;
    }
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof one);
  }

  std::unique_ptr<Loop> loop_;
  std::unique_ptr<MemoryBackend> backend_;
  std::unique_ptr<NbdServer> server_;
  Fd wake_;
  std::mutex mutex_;
  std::vector<std::function<void()>> calls_;
  bool ending_ = false;
  std::thread thread_;
};

// A client of bytes. Every send and receive has a deadline of ten seconds, for which the kernel
// does not restart a call that a signal interrupts, be it only that the process was stopped for a
// while.
class RawClient {
 public:
  explicit RawClient(Fd socket) : socket_(std::move(socket)) {
    const timeval limit{.tv_sec = 10, .tv_usec = 0};
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  }
  int fd() const { return socket_.get(); }
  void close() { socket_ = Fd(); }

  // False when the server has closed the connection.
  bool send(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent <= 0) return false;
      bytes = bytes.subspan(static_cast<size_t>(sent));
    }
    return true;
  }
  bool send(std::string_view text) { return send(std::as_bytes(std::span(text))); }
  template <typename T>
  bool send_object(const T& object) {
    return send(bytes_of(object));
  }
  bool receive(std::span<std::byte> into) {
    while (!into.empty()) {
      const ssize_t got = ::recv(socket_.get(), into.data(), into.size(), 0);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) {
        end_ = got == 0 ? "the connection ended" : std::strerror(errno);
        return false;
      }
      into = into.subspan(static_cast<size_t>(got));
    }
    return true;
  }
  template <typename T>
  T receive_object() {
    T object{};
    expect(writable_bytes_of(object));
    return object;
  }
  std::string receive_text(size_t size) {
    std::string text(size, '\0');
    expect(std::as_writable_bytes(std::span(text)));
    return text;
  }
  // True when the server ends the connection before the deadline, whatever it says until then.
  bool sees_end() {
    std::array<std::byte, 4096> buffer;
    for (;;) {
      const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
      if (got == 0) return true;
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return errno == ECONNRESET;
    }
  }

  // --- handshake ---
  void greet(uint32_t flags = 3) {
    const auto greeting = receive_object<nbd::Greeting>();
    EXPECT_EQ(greeting.server_magic, nbd::kServerMagic);
    EXPECT_EQ(greeting.option_magic, nbd::kOptionMagic);
    EXPECT_EQ(greeting.flags, 3);
    send_object(Be<uint32_t>(flags));
  }
  void send_option(uint32_t option, std::string_view data = {}) {
    nbd::OptionHeader header;
    header.magic = nbd::kOptionMagic;
    header.option = option;
    header.length = static_cast<uint32_t>(data.size());
    send_object(header);
    send(data);
  }
  struct Answer {
    uint32_t type = 0;
    std::string data;
  };
  Answer receive_answer(uint32_t option) {
    const auto header = receive_object<nbd::OptionReply>();
    EXPECT_EQ(header.magic, nbd::kOptionReplyMagic);
    EXPECT_EQ(header.option, option);
    return {header.type, receive_text(header.length)};
  }
  // All answers until an acknowledgement or an error, that one included.
  std::vector<Answer> haggle(uint32_t option, std::string_view data = {}) {
    send_option(option, data);
    std::vector<Answer> answers;
    do {
      answers.push_back(receive_answer(option));
    } while (answers.back().type != nbd::kRepAck && (answers.back().type >> 31) == 0 &&
             answers.size() < 10'000 && !testing::Test::HasFailure());
    return answers;
  }
  static std::string number(auto value) {
    const Be<decltype(value)> wire(value);
    return std::string(reinterpret_cast<const char*>(&wire), sizeof wire);
  }
  static std::string text(std::string_view value) {
    return number(static_cast<uint32_t>(value.size())) + std::string(value);
  }
  static std::string info_request(std::string_view name, std::vector<uint16_t> wanted = {}) {
    std::string data = text(name) + number(static_cast<uint16_t>(wanted.size()));
    for (const uint16_t each : wanted) data += number(each);
    return data;
  }
  static std::string context_request(std::string_view name, std::vector<std::string> queries) {
    std::string data = text(name) + number(static_cast<uint32_t>(queries.size()));
    for (const std::string& query : queries) data += text(query);
    return data;
  }
  // Enters transmission; the export's flags.
  uint16_t go(std::string_view name, bool structured, std::vector<std::string> contexts = {}) {
    greet();
    if (structured) {
      EXPECT_EQ(haggle(nbd::kOptStructuredReply).back().type, nbd::kRepAck);
    }
    if (!contexts.empty()) {
      EXPECT_EQ(haggle(nbd::kOptSetMetaContext, context_request(name, contexts)).back().type,
                nbd::kRepAck);
    }
    const std::vector<Answer> answers = haggle(nbd::kOptGo, info_request(name));
    EXPECT_EQ(answers.back().type, nbd::kRepAck);
    if (answers.size() < 2 || answers[0].data.size() != 12) return 0;
    return static_cast<uint16_t>((static_cast<uint8_t>(answers[0].data[10]) << 8) |
                                 static_cast<uint8_t>(answers[0].data[11]));
  }

  // --- transmission ---
  bool request(uint16_t type, uint64_t cookie, uint64_t offset, uint32_t length,
               uint16_t flags = 0) {
    nbd::RequestHeader header;
    header.magic = nbd::kRequestMagic;
    header.flags = flags;
    header.type = type;
    header.cookie = cookie;
    header.offset = offset;
    header.length = length;
    return send_object(header);
  }
  // Receives a simple reply without data; its error.
  uint32_t simple(uint64_t cookie) {
    const auto reply = receive_object<nbd::SimpleReply>();
    EXPECT_EQ(reply.magic, nbd::kSimpleReplyMagic);
    EXPECT_EQ(reply.cookie, cookie);
    return reply.error;
  }
  uint32_t write(uint64_t offset, std::string_view data, uint16_t flags = 0) {
    request(nbd::kCmdWrite, 77, offset, static_cast<uint32_t>(data.size()), flags);
    send(data);
    return simple(77);
  }
  uint32_t command(uint16_t type, uint64_t offset, uint32_t length, uint16_t flags = 0) {
    request(type, 78, offset, length, flags);
    return simple(78);
  }
  std::string read_simple(uint64_t offset, uint32_t length) {
    request(nbd::kCmdRead, 79, offset, length);
    EXPECT_EQ(simple(79), 0U);
    return receive_text(length);
  }
  struct Chunk {
    uint16_t flags = 0;
    uint16_t type = 0;
    std::string body;
  };
  std::vector<Chunk> chunks(uint64_t cookie) {
    std::vector<Chunk> all;
    do {
      const auto header = receive_object<nbd::ChunkHeader>();
      EXPECT_EQ(header.magic, nbd::kChunkMagic);
      EXPECT_EQ(header.cookie, cookie);
      if (testing::Test::HasFailure()) return all;
      all.push_back({header.flags, header.type, receive_text(header.length)});
    } while ((all.back().flags & nbd::kChunkDone) == 0);
    return all;
  }
  // The error of a structured error reply, 0 for anything else.
  static uint32_t error_of(const std::vector<Chunk>& all) {
    if (all.size() != 1 || all[0].type != nbd::kChunkError || all[0].body.size() < 6) return 0;
    Be<uint32_t> error;
    std::memcpy(&error, all[0].body.data(), sizeof error);
    Be<uint16_t> length;
    std::memcpy(&length, all[0].body.data() + 4, sizeof length);
    EXPECT_EQ(all[0].body.size(), 6U + length);
    EXPECT_GT(length, 0);  // every error says why
    return error;
  }

 private:
  void expect(std::span<std::byte> into) {
    EXPECT_TRUE(receive(into)) << "the server said less than expected: " << end_;
  }
  Fd socket_;
  std::string end_;  // why a receive failed
};

}  // namespace hozon::serve
