// One task reads and examines requests, and starts a task for each that may run. Replies are added
// to the queue whole, so tasks never interleave inside a reply.
#include "serve/nbd_transmission.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/bytes.h"
#include "base/log.h"

namespace hozon::serve::nbd {
namespace {

// Zeros of a read are sent as holes in pieces of this size, or larger ones for large reads, so that
// a reply has a bounded number of chunks.
constexpr uint64_t kHoleBytesMin = 4096;
constexpr uint64_t kChunksMax = 1024;

uint64_t piece_bytes(uint64_t length) {
  return std::max(kHoleBytesMin, std::bit_ceil(divide_up(length, kChunksMax)));
}

uint16_t allowed_flags(uint16_t type) {
  switch (type) {
    case kCmdRead: return kFlagFua | kFlagDontFragment;
    case kCmdWriteZeroes: return kFlagFua | kFlagNoHole | kFlagFastZero;
    case kCmdBlockStatus: return kFlagFua | kFlagRequireOne;
    default: return kFlagFua;
  }
}

bool changes_data(uint16_t type) {
  return type == kCmdWrite || type == kCmdTrim || type == kCmdWriteZeroes;
}

}  // namespace

bool is_zero(std::span<const std::byte> data) {
  const std::byte* at = data.data();
  size_t rest = data.size();
  for (; rest >= 64; at += 64, rest -= 64) {
    uint64_t words[8];
    std::memcpy(words, at, sizeof words);
    if ((words[0] | words[1] | words[2] | words[3] | words[4] | words[5] | words[6] | words[7]) !=
        0)
      return false;
  }
  return std::all_of(at, at + rest, [](std::byte b) { return b == std::byte{0}; });
}

Transmission::Transmission(Loop& loop, Input& input, ReplyQueue& replies, PayloadAccount& memory,
                           Negotiated chosen)
    : loop_(loop),
      input_(input),
      replies_(replies),
      memory_(memory),
      chosen_(std::move(chosen)),
      running_(loop) {}

Task<void> Transmission::run() {
  while (!stopping_ && !replies_.broken()) {
    RequestHeader header;
    if (input_.available() >= sizeof header) {
      input_.take(writable_bytes_of(header));
    } else if (!co_await input_.read(writable_bytes_of(header))) {
      break;
    }
    if (stopping_ || header.magic != kRequestMagic || header.type == kCmdDisconnect) break;
    while (running_.running() + replies_.unsent() >= kRequestsInFlightMax && !replies_.broken())
      co_await replies_.some_sent();
    if (!co_await receive(header)) break;
  }
  co_await running_.wait();
}

Task<bool> Transmission::receive(RequestHeader header) {
  Request request{.flags = header.flags,
                  .type = header.type,
                  .cookie = header.cookie,
                  .offset = header.offset,
                  .length = header.length,
                  .payload = {}};
  if (request.type == kCmdWrite && request.length > kPayloadBytesSkipped) co_return false;
  const Refusal refusal = examine(request);
  if (refusal.error != kOk) {
    if (request.type == kCmdWrite && !co_await input_.skip(request.length)) co_return false;
    reply_error(request, refusal.error, refusal.reason);
    co_return true;
  }
  const bool needs_memory = request.type == kCmdRead || request.type == kCmdWrite;
  if (needs_memory && request.length > 0) {
    if (memory_.fits_reserve(request.length))
      request.payload = memory_.take_from_reserve(request.length);
    else
      request.payload = co_await memory_.take(request.length);
  }
  if (request.type == kCmdWrite && request.length > 0) {
    const bool received = co_await receive_payload(request);
    if (!received) co_return false;
  }
  running_.start(execute(std::move(request)));
  co_return true;
}

Task<bool> Transmission::receive_payload(Request& request) {
  const std::span<std::byte> into = request.payload.span();
  if (input_.available() < into.size()) co_return co_await input_.read(into);
  input_.take(into);
  co_return true;
}

Transmission::Refusal Transmission::examine(const Request& request) const {
  if (request.type > kCmdBlockStatus) return {kEinval, "this command is not known here"};
  if ((request.flags & ~allowed_flags(request.type)) != 0)
    return {kEinval, "a flag of this command is not known here"};
  if ((request.flags & kFlagDontFragment) != 0 && !chosen_.structured)
    return {kEinval, "the DF flag needs structured replies"};
  if (changes_data(request.type) && chosen_.session->read_only())
    return {kEperm, "this export is read-only"};
  const bool has_payload = request.type == kCmdRead || request.type == kCmdWrite;
  if (has_payload && request.length > kPayloadBytesMax)
    return {kEinval, "a request moves at most 32 MiB"};
  if (request.type == kCmdBlockStatus) {
    if (chosen_.contexts.empty()) return {kEinval, "no metadata context was selected"};
    if (request.length == 0) return {kEinval, "block status of no bytes at all"};
  }
  return request.type == kCmdFlush ? Refusal{} : examine_range(request);
}

Transmission::Refusal Transmission::examine_range(const Request& request) const {
  const Result<uint64_t> size_bytes = chosen_.session->size_bytes();
  if (!size_bytes)
    return {wire_error(size_bytes.error().code), "the volume or point does not exist any more"};
  if (request.offset <= *size_bytes && request.length <= *size_bytes - request.offset) return {};
  const bool grows = request.type == kCmdWrite || request.type == kCmdWriteZeroes;
  return {grows ? kEnospc : kEinval, "the range is past the end of the export"};
}

Task<void> Transmission::execute(Request request) {
  if (request.type == kCmdRead) return execute_read(std::move(request));
  if (request.type == kCmdBlockStatus) return execute_block_status(std::move(request));
  return [](Transmission& self, Request owned) -> Task<void> {
    const std::span<const std::byte> data = owned.payload.span();
    const Status done = co_await self.perform(owned, data);
    if (done)
      self.reply_ok(owned.cookie);
    else
      self.reply_error(owned, done.error());
  }(*this, std::move(request));
}

Task<Status> Transmission::perform(const Request& request, std::span<const std::byte> data) {
  Session& session = *chosen_.session;
  const bool does_nothing = request.length == 0 && request.type != kCmdFlush;
  switch (does_nothing ? uint16_t{kCmdCache} : request.type) {
    case kCmdWrite: return session.write(request.offset, data, request.fua());
    case kCmdTrim: return session.discard(request.offset, request.length, request.fua());
    case kCmdWriteZeroes:
      return session.write_zeroes(request.offset, request.length, request.fua());
    case kCmdFlush: return session.flush();
    default: break;  // kCmdCache is advice; there is nothing to do
  }
  return []() -> Task<Status> { co_return Status{}; }();
}

Task<void> Transmission::execute_read(Request request) {
  const std::span<std::byte> into = request.payload.span();
  if (!into.empty()) {
    const Status done = co_await chosen_.session->read(request.offset, into);
    if (!done) {
      reply_error(request, done.error());
      co_return;
    }
  }
  reply_data(std::move(request));
}

Task<Result<std::vector<Extent>>> Transmission::context_extents(const Context& context,
                                                                const Request& request,
                                                                uint32_t extents_max) {
  if (context.changed_since)
    return chosen_.session->changed_status(*context.changed_since, request.offset, request.length,
                                           extents_max);
  return chosen_.session->block_status(request.offset, request.length, extents_max);
}

Task<void> Transmission::execute_block_status(Request request) {
  const uint32_t extents_max = (request.flags & kFlagRequireOne) != 0 ? 1 : kExtentsMax;
  std::vector<std::vector<Extent>> answers;
  for (const Context& context : chosen_.contexts) {
    Result<std::vector<Extent>> extents = co_await context_extents(context, request, extents_max);
    if (!extents) {
      reply_error(request, extents.error());
      co_return;
    }
    answers.push_back(*std::move(extents));
  }
  for (size_t i = 0; i < answers.size(); ++i)
    add_status_chunk(request, chosen_.contexts[i], answers[i], i + 1 == answers.size());
  replies_.end_reply();
}

void Transmission::add_status_chunk(const Request& request, const Context& context,
                                    const std::vector<Extent>& extents, bool last) {
  std::vector<StatusDescriptor> descriptors;
  for (const Extent& extent : extents) {
    uint32_t flags = extent.mapped ? 0 : kStatusHole | kStatusZero;
    if (context.changed_since) flags = extent.changed ? kStatusChanged : 0;
    const auto length = static_cast<uint32_t>(extent.length_bytes);
    // Neighbours may differ only in what this context does not tell.
    if (!descriptors.empty() && descriptors.back().flags == flags)
      descriptors.back().length = descriptors.back().length + length;
    else
      descriptors.push_back({.length = length, .flags = flags});
  }
  BlockStatusChunk chunk;
  chunk.header.flags = last ? kChunkDone : uint16_t{0};
  chunk.header.type = uint16_t{kChunkBlockStatus};
  chunk.header.cookie = request.cookie;
  chunk.header.length = static_cast<uint32_t>(sizeof chunk.context_id +
                                              descriptors.size() * sizeof(StatusDescriptor));
  chunk.context_id = context.id;
  replies_.add(chunk);
  replies_.add_bytes(std::as_bytes(std::span(descriptors)));
}

void Transmission::reply_ok(uint64_t cookie) {
  SimpleReply reply;  // allowed for everything but reads when replies are structured
  reply.error = uint32_t{kOk};
  reply.cookie = cookie;
  replies_.add(reply);
  replies_.end_reply();
}

void Transmission::reply_error(const Request& request, const Error& error) {
  const bool ours =
      error.code == Code::kIo || error.code == Code::kCorruption || error.code == Code::kInternal;
  if (ours)
    log_error("export '{}': request at {} of {} bytes failed: {}", chosen_.name, request.offset,
              request.length, error.what);
  reply_error(request, wire_error(error.code), error.what);
}

void Transmission::reply_error(const Request& request, WireError error, std::string_view reason) {
  if (chosen_.structured) {
    reason = reason.substr(0, kErrorTextMax);
    ErrorChunk chunk;
    chunk.header.flags = kChunkDone;
    chunk.header.type = uint16_t{kChunkError};
    chunk.header.cookie = request.cookie;
    chunk.header.length = static_cast<uint32_t>(sizeof chunk - sizeof chunk.header + reason.size());
    chunk.error = uint32_t{error};
    chunk.message_length = static_cast<uint16_t>(reason.size());
    replies_.add(chunk);
    replies_.add_bytes(std::as_bytes(std::span(reason)));
  } else {
    SimpleReply reply;
    reply.error = uint32_t{error};
    reply.cookie = request.cookie;
    replies_.add(reply);
  }
  replies_.end_reply();
}

void Transmission::reply_data(Request request) {
  const std::span<const std::byte> data = request.payload.span();
  if (!chosen_.structured) {
    SimpleReply reply;
    reply.error = uint32_t{kOk};
    reply.cookie = request.cookie;
    replies_.add(reply);
    if (!data.empty()) replies_.add_data(data);
  } else if (data.empty()) {
    ChunkHeader header;
    header.flags = kChunkDone;
    header.type = uint16_t{kChunkNone};
    header.cookie = request.cookie;
    header.length = uint32_t{0};
    replies_.add(header);
  } else {
    reply_chunks(request, data);
  }
  replies_.end_reply(std::move(request.payload));
}

// Runs of zeros, in pieces that are aligned in the export, become hole chunks.
void Transmission::reply_chunks(const Request& request, std::span<const std::byte> data) {
  const bool one_chunk = (request.flags & kFlagDontFragment) != 0;
  const uint64_t piece = one_chunk ? data.size() : piece_bytes(data.size());
  size_t begin = 0;
  size_t end = 0;
  bool zero = false;
  while (end < data.size()) {
    const uint64_t to_boundary = one_chunk ? piece : piece - (request.offset + end) % piece;
    const size_t size = static_cast<size_t>(std::min<uint64_t>(to_boundary, data.size() - end));
    const bool next_zero = is_zero(data.subspan(end, size));
    if (end > begin && next_zero != zero) {
      add_chunk(request, data.subspan(begin, end - begin), request.offset + begin, zero, false);
      begin = end;
    }
    zero = next_zero;
    end += size;
  }
  add_chunk(request, data.subspan(begin), request.offset + begin, zero, true);
}

void Transmission::add_chunk(const Request& request, std::span<const std::byte> data,
                             uint64_t offset, bool zero, bool last) {
  ChunkHeader header;
  header.flags = last ? kChunkDone : uint16_t{0};
  header.cookie = request.cookie;
  if (zero) {
    OffsetHoleChunk chunk;
    chunk.header = header;
    chunk.header.type = uint16_t{kChunkOffsetHole};
    chunk.header.length = static_cast<uint32_t>(sizeof chunk - sizeof chunk.header);
    chunk.offset = offset;
    chunk.size = static_cast<uint32_t>(data.size());
    replies_.add(chunk);
    return;
  }
  OffsetDataChunk chunk;
  chunk.header = header;
  chunk.header.type = uint16_t{kChunkOffsetData};
  chunk.header.length = static_cast<uint32_t>(sizeof chunk.offset + data.size());
  chunk.offset = offset;
  replies_.add(chunk);
  replies_.add_data(data);
}

}  // namespace hozon::serve::nbd
