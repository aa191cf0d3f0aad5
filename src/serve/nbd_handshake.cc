#include "serve/nbd_handshake.h"

#include <algorithm>
#include <cstring>

#include "base/bytes.h"

namespace hozon::serve::nbd {
namespace {

constexpr std::string_view kAllocation = "base:allocation";
constexpr std::string_view kChangedPrefix = "hozon:changed:";

void append(std::vector<std::byte>& to, std::span<const std::byte> bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}
template <typename T>
void append_object(std::vector<std::byte>& to, const T& object) {
  append(to, bytes_of(object));
}
void append_text(std::vector<std::byte>& to, std::string_view text) {
  append(to, std::as_bytes(std::span(text)));
}

struct InfoExport {
  Be<uint16_t> type = uint16_t{kInfoExport};
  Be<uint64_t> size_bytes;
  Be<uint16_t> flags;
};
static_assert(sizeof(InfoExport) == 12);

struct InfoBlockSize {
  Be<uint16_t> type = uint16_t{kInfoBlockSize};
  Be<uint32_t> least;
  Be<uint32_t> preferred = kBlockBytesPreferred;
  Be<uint32_t> most = kPayloadBytesMax;
};
static_assert(sizeof(InfoBlockSize) == 14);

std::string_view shortened(std::string_view text) { return text.substr(0, kErrorTextMax); }

// The contexts of the session that a query selects. `listing`: prefixes select everything below.
std::vector<Context> matches(const Session& session, std::string_view query, bool listing) {
  std::vector<Context> found;
  if (query == kAllocation || (listing && query == "base:"))
    found.push_back({.id = 0, .name = std::string(kAllocation), .changed_since = {}});
  if (listing && (query == "hozon:" || query == kChangedPrefix)) {
    for (const std::string& point : session.comparable_points())
      found.push_back({.id = 0, .name = std::string(kChangedPrefix) + point, .changed_since = {}});
  } else if (query.starts_with(kChangedPrefix)) {
    const Result<uint64_t> point = session.comparable_point(query.substr(kChangedPrefix.size()));
    if (point) found.push_back({.id = 0, .name = std::string(query), .changed_since = *point});
  }
  return found;
}

}  // namespace

uint16_t transmission_flags(const Session& session, bool structured) {
  unsigned flags = kHasFlags | kSendFlush | kSendFua | kSendCache | kCanMultiConnect;
  flags |= session.read_only() ? unsigned{kReadOnly}
                               : unsigned{kSendTrim | kSendWriteZeroes | kSendFastZero};
  if (structured) flags |= kSendDontFragment;
  return static_cast<uint16_t>(flags);
}

Task<std::optional<Negotiated>> Handshake::run() {
  if (!co_await greet()) co_return std::nullopt;
  for (uint32_t options = 0; options < kOptionsMax; ++options) {
    const Next next = co_await handle_option();
    if (next == Next::kEnd) co_return std::nullopt;
    if (next == Next::kTransmission) co_return std::move(chosen_);
  }
  co_return std::nullopt;
}

Task<bool> Handshake::greet() {
  append_object(answer_, Greeting{});
  if (!co_await send_answer()) co_return false;
  Be<uint32_t> flags;
  if (!co_await input_.read(writable_bytes_of(flags))) co_return false;
  if ((flags & ~uint32_t{kFixedNewstyle | kNoZeroes}) != 0) co_return false;  // as NBD demands
  fixed_newstyle_ = (flags & kFixedNewstyle) != 0;
  no_zeroes_ = (flags & kNoZeroes) != 0;
  co_return true;
}

Task<bool> Handshake::send_answer() {
  std::span<const std::byte> rest(answer_);
  while (!rest.empty()) {
    const int32_t sent = co_await loop_.send(fd_, rest);
    if (sent <= 0) co_return false;
    rest = rest.subspan(static_cast<size_t>(sent));
  }
  answer_.clear();
  co_return true;
}

Task<Handshake::Next> Handshake::handle_option() {
  OptionHeader header;
  if (!co_await input_.read(writable_bytes_of(header))) co_return Next::kEnd;
  if (header.magic != kOptionMagic) co_return Next::kEnd;
  if (header.option != kOptExportName && !fixed_newstyle_) co_return Next::kEnd;
  option_ = header.option;
  if (header.length > kOptionBytesMax) {
    const bool hopeless = header.length > kOptionBytesSkipped || option_ == kOptExportName;
    if (hopeless || !co_await input_.skip(header.length)) co_return Next::kEnd;
    refuse(kRepErrTooBig, fmt::format("an option has at most {} bytes", kOptionBytesMax));
    const bool sent = co_await send_answer();
    co_return sent ? Next::kOption : Next::kEnd;
  }
  if (!co_await receive_option(header)) co_return Next::kEnd;
  const Next next = answer(header.option);
  if (!co_await send_answer()) co_return Next::kEnd;
  co_return next;
}

Task<bool> Handshake::receive_option(OptionHeader header) {
  data_.resize(header.length);
  return input_.read(data_);
}

Handshake::Next Handshake::answer(uint32_t option) {
  const bool takes_no_data =
      option == kOptList || option == kOptStartTls || option == kOptStructuredReply;
  if (takes_no_data && !data_.empty()) {
    refuse(kRepErrInvalid, "this option takes no data");
    return Next::kOption;
  }
  switch (option) {
    case kOptExportName: return answer_export_name();
    case kOptAbort: reply(kRepAck); return Next::kEnd;
    case kOptList: answer_list(); return Next::kOption;
    case kOptStartTls:
      refuse(kRepErrPolicy, "this socket has no TLS; connect without it");
      return Next::kOption;
    case kOptInfo:
    case kOptGo: return answer_info(option);
    case kOptStructuredReply: answer_structured_reply(); return Next::kOption;
    case kOptListMetaContext: answer_list_contexts(); return Next::kOption;
    case kOptSetMetaContext: answer_set_contexts(); return Next::kOption;
    default:
      refuse(kRepErrUnsupported, fmt::format("option {} is not known here", option));
      return Next::kOption;
  }
}

void Handshake::reply(uint32_t type, std::span<const std::byte> data) {
  OptionReply header;
  header.option = option_;
  header.type = type;
  header.length = static_cast<uint32_t>(data.size());
  append_object(answer_, header);
  append(answer_, data);
}

void Handshake::refuse(uint32_t type, std::string_view reason) {
  reply(type, std::as_bytes(std::span(shortened(reason))));
}

void Handshake::refuse(const Error& error) {
  switch (error.code) {
    case Code::kInvalidArgument: refuse(kRepErrInvalid, error.what); return;
    case Code::kResourceExhausted: refuse(kRepErrTooBig, error.what); return;
    case Code::kPermissionDenied: refuse(kRepErrPolicy, error.what); return;
    case Code::kUnavailable: refuse(kRepErrShutdown, error.what); return;
    default: refuse(kRepErrUnknown, error.what); return;
  }
}

// Opens the export, unless its session is here already because contexts were set for it.
Result<uint64_t> Handshake::choose(const std::string& name) {
  if (chosen_.session == nullptr || context_export_ != name) {
    chosen_.contexts.clear();
    context_export_.clear();
    chosen_.session = HOZON_TRY(backend_.open(name));
  }
  chosen_.name = name;
  return chosen_.session->size_bytes();
}

Handshake::Next Handshake::answer_export_name() {
  if (data_.size() > kNameBytesMax) return Next::kEnd;
  const std::string name(reinterpret_cast<const char*>(data_.data()), data_.size());
  const Result<uint64_t> size_bytes = choose(name);
  if (!size_bytes) return Next::kEnd;  // this option has no way to say no
  ExportReply reply_body;
  reply_body.size_bytes = *size_bytes;
  reply_body.flags = transmission_flags(*chosen_.session, chosen_.structured);
  const std::span<const std::byte> bytes = bytes_of(reply_body);
  append(answer_, no_zeroes_ ? bytes.first(sizeof reply_body - sizeof reply_body.zeroes) : bytes);
  return Next::kTransmission;
}

void Handshake::answer_list() {
  for (const ExportInfo& info : backend_.list(kExportsListedMax)) {
    std::vector<std::byte> entry;
    append_object(entry, Be<uint32_t>(static_cast<uint32_t>(info.name.size())));
    append_text(entry, info.name);
    append_text(entry, shortened(info.description));
    reply(kRepServer, entry);
  }
  reply(kRepAck);
}

Handshake::Next Handshake::answer_info(uint32_t option) {
  const Result<InfoRequest> request = parse_info_request(data_);
  if (!request) {
    refuse(request.error());
    return Next::kOption;
  }
  const Result<uint64_t> size_bytes = choose(request->name);
  if (!size_bytes) {
    refuse(size_bytes.error());
    return Next::kOption;
  }
  add_infos(*request, *size_bytes);
  reply(kRepAck);
  return option == kOptGo ? Next::kTransmission : Next::kOption;
}

void Handshake::add_infos(const InfoRequest& request, uint64_t size_bytes) {
  const auto wants = [&](InfoType type) { return std::ranges::count(request.wanted, type) != 0; };
  InfoExport info;
  info.size_bytes = size_bytes;
  info.flags = transmission_flags(*chosen_.session, chosen_.structured);
  reply(kRepInfo, bytes_of(info));
  if (wants(kInfoName)) {
    std::vector<std::byte> entry;
    append_object(entry, Be<uint16_t>(uint16_t{kInfoName}));
    append_text(entry, request.name);
    reply(kRepInfo, entry);
  }
  if (wants(kInfoDescription)) {
    std::vector<std::byte> entry;
    append_object(entry, Be<uint16_t>(uint16_t{kInfoDescription}));
    append_text(entry, shortened(chosen_.session->description()));
    reply(kRepInfo, entry);
  }
  if (wants(kInfoBlockSize)) {
    InfoBlockSize sizes;
    sizes.least = size_bytes % kBlockBytesMin == 0 ? kBlockBytesMin : uint32_t{1};
    reply(kRepInfo, bytes_of(sizes));
  }
}

void Handshake::answer_structured_reply() {
  chosen_.structured = true;
  reply(kRepAck);
}

Result<ContextRequest> Handshake::context_request() {
  if (!chosen_.structured)
    return make_error(Code::kInvalidArgument,
                      "metadata contexts need structured replies; ask for those first");
  return parse_context_request(data_);
}

void Handshake::add_context_reply(uint32_t id, const std::string& name) {
  std::vector<std::byte> entry;
  append_object(entry, Be<uint32_t>(id));
  append_text(entry, name);
  reply(kRepMetaContext, entry);
}

void Handshake::answer_list_contexts() {
  Result<ContextRequest> request = context_request();
  if (!request) return refuse(request.error());
  const Result<std::unique_ptr<Session>> session = backend_.open(request->name);
  if (!session) return refuse(session.error());
  if (request->queries.empty()) request->queries = {"base:", "hozon:"};
  for (const std::string& query : request->queries)
    for (const Context& context : matches(**session, query, true))
      add_context_reply(0, context.name);
  reply(kRepAck);
}

void Handshake::answer_set_contexts() {
  // Whatever happens, the earlier selection is gone.
  chosen_.contexts.clear();
  context_export_.clear();
  chosen_.session.reset();
  const Result<ContextRequest> request = context_request();
  if (!request) return refuse(request.error());
  Result<std::unique_ptr<Session>> session = backend_.open(request->name);
  if (!session) return refuse(session.error());
  std::vector<Context> selected;
  for (const std::string& query : request->queries)
    for (Context& context : matches(**session, query, false)) {
      const bool twice = std::ranges::any_of(
          selected, [&](const Context& other) { return other.name == context.name; });
      if (twice) continue;
      context.id = static_cast<uint32_t>(selected.size()) + 1;
      selected.push_back(std::move(context));
    }
  for (const Context& context : selected) add_context_reply(context.id, context.name);
  reply(kRepAck);
  chosen_.session = *std::move(session);
  chosen_.contexts = std::move(selected);
  context_export_ = request->name;
}

}  // namespace hozon::serve::nbd
