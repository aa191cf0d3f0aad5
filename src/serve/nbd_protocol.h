// src/serve/nbd_protocol.h
// The NBD protocol on the wire: numbers and structs, as in the "doc/proto.md" of the NBD project.
// Everything is big-endian. Only what this server speaks: fixed newstyle, structured replies.
#pragma once

#include <array>
#include <cstdint>

#include "base/endian.h"
#include "base/result.h"

namespace hozon::serve::nbd {

// --- handshake ---
inline constexpr uint64_t kServerMagic = 0x4e42444d41474943;  // "NBDMAGIC"
inline constexpr uint64_t kOptionMagic = 0x49484156454f5054;  // "IHAVEOPT"
inline constexpr uint64_t kOptionReplyMagic = 0x0003e889045565a9;

inline constexpr uint16_t kFixedNewstyle = 1 << 0;  // the same bits in the client's flags
inline constexpr uint16_t kNoZeroes = 1 << 1;

struct Greeting {
  Be<uint64_t> server_magic = kServerMagic;
  Be<uint64_t> option_magic = kOptionMagic;
  Be<uint16_t> flags = uint16_t{kFixedNewstyle | kNoZeroes};
};
static_assert(sizeof(Greeting) == 18 && alignof(Greeting) == 1);

struct OptionHeader {
  Be<uint64_t> magic;
  Be<uint32_t> option;
  Be<uint32_t> length;
};
static_assert(sizeof(OptionHeader) == 16);

struct OptionReply {
  Be<uint64_t> magic = kOptionReplyMagic;
  Be<uint32_t> option;
  Be<uint32_t> type;
  Be<uint32_t> length;
};
static_assert(sizeof(OptionReply) == 20);

// The answer to NBD_OPT_EXPORT_NAME, which has no header.
struct ExportReply {
  Be<uint64_t> size_bytes;
  Be<uint16_t> flags;
  std::array<uint8_t, 124> zeroes{};  // left out when both sides set kNoZeroes
};
static_assert(sizeof(ExportReply) == 134);

enum Option : uint32_t {
  kOptExportName = 1,
  kOptAbort = 2,
  kOptList = 3,
  kOptStartTls = 5,
  kOptInfo = 6,
  kOptGo = 7,
  kOptStructuredReply = 8,
  kOptListMetaContext = 9,
  kOptSetMetaContext = 10,
};

enum OptionReplyType : uint32_t {
  kRepAck = 1,
  kRepServer = 2,
  kRepInfo = 3,
  kRepMetaContext = 4,
  kRepErrUnsupported = 0x80000001,
  kRepErrPolicy = 0x80000002,
  kRepErrInvalid = 0x80000003,
  kRepErrUnknown = 0x80000006,
  kRepErrShutdown = 0x80000007,
  kRepErrTooBig = 0x80000009,
};

enum InfoType : uint16_t {
  kInfoExport = 0,
  kInfoName = 1,
  kInfoDescription = 2,
  kInfoBlockSize = 3,
};

// --- transmission ---
enum TransmissionFlag : uint16_t {
  kHasFlags = 1 << 0,
  kReadOnly = 1 << 1,
  kSendFlush = 1 << 2,
  kSendFua = 1 << 3,
  kSendTrim = 1 << 5,
  kSendWriteZeroes = 1 << 6,
  kSendDontFragment = 1 << 7,
  kCanMultiConnect = 1 << 8,
  kSendCache = 1 << 10,
  kSendFastZero = 1 << 11,
};

inline constexpr uint32_t kRequestMagic = 0x25609513;
inline constexpr uint32_t kSimpleReplyMagic = 0x67446698;
inline constexpr uint32_t kChunkMagic = 0x668e33ef;

struct RequestHeader {
  Be<uint32_t> magic;
  Be<uint16_t> flags;
  Be<uint16_t> type;
  Be<uint64_t> cookie;
  Be<uint64_t> offset;
  Be<uint32_t> length;
};
static_assert(sizeof(RequestHeader) == 28);

enum Command : uint16_t {
  kCmdRead = 0,
  kCmdWrite = 1,
  kCmdDisconnect = 2,
  kCmdFlush = 3,
  kCmdTrim = 4,
  kCmdCache = 5,
  kCmdWriteZeroes = 6,
  kCmdBlockStatus = 7,
};

enum CommandFlag : uint16_t {
  kFlagFua = 1 << 0,
  kFlagNoHole = 1 << 1,
  kFlagDontFragment = 1 << 2,
  kFlagRequireOne = 1 << 3,
  kFlagFastZero = 1 << 4,
};

struct SimpleReply {
  Be<uint32_t> magic = kSimpleReplyMagic;
  Be<uint32_t> error;
  Be<uint64_t> cookie;
};
static_assert(sizeof(SimpleReply) == 16);

struct ChunkHeader {
  Be<uint32_t> magic = kChunkMagic;
  Be<uint16_t> flags;
  Be<uint16_t> type;
  Be<uint64_t> cookie;
  Be<uint32_t> length;  // of what follows
};
static_assert(sizeof(ChunkHeader) == 20);

inline constexpr uint16_t kChunkDone = 1 << 0;

enum ChunkType : uint16_t {
  kChunkNone = 0,
  kChunkOffsetData = 1,
  kChunkOffsetHole = 2,
  kChunkBlockStatus = 5,
  kChunkError = 32769,
};

struct OffsetDataChunk {  // followed by the data
  ChunkHeader header;
  Be<uint64_t> offset;
};
static_assert(sizeof(OffsetDataChunk) == 28);

struct OffsetHoleChunk {
  ChunkHeader header;
  Be<uint64_t> offset;
  Be<uint32_t> size;
};
static_assert(sizeof(OffsetHoleChunk) == 32);

struct ErrorChunk {  // followed by the message
  ChunkHeader header;
  Be<uint32_t> error;
  Be<uint16_t> message_length;
};
static_assert(sizeof(ErrorChunk) == 26);

struct BlockStatusChunk {  // followed by descriptors
  ChunkHeader header;
  Be<uint32_t> context_id;
};
static_assert(sizeof(BlockStatusChunk) == 24);

struct StatusDescriptor {
  Be<uint32_t> length;
  Be<uint32_t> flags;
};
static_assert(sizeof(StatusDescriptor) == 8);

inline constexpr uint32_t kStatusHole = 1 << 0;  // base:allocation
inline constexpr uint32_t kStatusZero = 1 << 1;
inline constexpr uint32_t kStatusChanged = 1 << 0;  // hozon:changed:<point>

enum WireError : uint32_t {
  kOk = 0,
  kEperm = 1,
  kEio = 5,
  kEnomem = 12,
  kEinval = 22,
  kEnospc = 28,
  kEoverflow = 75,
  kEnotsup = 95,
  kEshutdown = 108,
};

// What the client can do about an error decides its number.
constexpr WireError wire_error(Code code) {
  switch (code) {
    case Code::kInvalidArgument: return kEinval;
    case Code::kNotFound:
    case Code::kUnavailable:
    case Code::kCancelled: return kEshutdown;
    case Code::kPermissionDenied:
    case Code::kWrongState: return kEperm;
    case Code::kResourceExhausted: return kEnospc;
    case Code::kUnimplemented: return kEnotsup;
    case Code::kAlreadyExists:
    case Code::kBusy:
    case Code::kCorruption:
    case Code::kIo:
    case Code::kInternal: return kEio;
  }
  return kEio;
}

// --- limits ---
inline constexpr uint32_t kNameBytesMax = 4096;           // of the protocol
inline constexpr uint32_t kOptionBytesMax = 64 << 10;     // longer ones are refused...
inline constexpr uint32_t kOptionBytesSkipped = 1 << 20;  // ...and beyond this the connection ends
inline constexpr uint32_t kOptionsMax = 1024;             // per connection
inline constexpr uint32_t kPayloadBytesMax = 32 << 20;    // of one read or write
inline constexpr uint32_t kPayloadBytesSkipped = 64 << 20;
inline constexpr uint32_t kContextsMax = 32;
inline constexpr uint32_t kExtentsMax = 1024;          // in one block status reply
inline constexpr uint32_t kRequestsInFlightMax = 128;  // per connection
inline constexpr uint32_t kExportsListedMax = 10'000;
inline constexpr uint32_t kErrorTextMax = 400;
inline constexpr uint32_t kBlockBytesMin = 512;  // announced; single bytes are served too
inline constexpr uint32_t kBlockBytesPreferred = 4096;

}  // namespace hozon::serve::nbd
