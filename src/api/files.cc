// /v1/machines/{machine}/snapshots/{snapshot}/details, /filesystems, /files and /content
//
// Content is sent as it comes from the reader. A thread of its own carries it, because reading
// waits; it is never more than kQueueMax pieces ahead of the client.
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "api/handlers.h"
#include "base/log.h"

namespace hozon::api {
namespace {

using control::Control;
using control::FileDownload;
using control::FileReader;

constexpr size_t kPieceBytes = 256 << 10;
constexpr size_t kQueueMax = 4;

class FileStream : public ByteStream {
 public:
  // `chunked`: its length is not known, so it comes in chunks, the last of which says that it was
  // whole. Otherwise the length that was told before says that.
  FileStream(std::unique_ptr<FileReader> reader, bool chunked, std::string subject)
      : reader_(std::move(reader)), chunked_(chunked), subject_(std::move(subject)) {}

  ~FileStream() override {
    reader_->stop();
    {
      const std::lock_guard lock(mutex_);
      gone_ = true;
    }
    changed_.notify_all();
    if (carrier_.joinable()) carrier_.join();
  }

  void on_more(std::function<void()> wake) override {
    wake_ = std::move(wake);
    carrier_ = std::thread([this] { carry(); });
  }

  std::optional<std::string> take() override {
    const std::lock_guard lock(mutex_);
    if (pieces_.empty()) return ended_ ? std::nullopt : std::optional<std::string>("");
    std::string piece = std::move(pieces_.front());
    pieces_.pop_front();
    changed_.notify_all();
    return piece;
  }

  std::string heartbeat() const override { return {}; }

 private:
  // False: nobody wants more.
  bool push(std::string piece) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return gone_ || pieces_.size() < kQueueMax; });
      if (gone_) return false;
      pieces_.push_back(std::move(piece));
    }
    wake_();
    return true;
  }

  void carry() {
    std::string room(kPieceBytes, '\0');
    Status status;
    for (;;) {
      const auto got = reader_->read(room);
      if (!got) {
        status = std::unexpected(got.error());
        break;
      }
      if (*got == 0) {
        status = reader_->finish();
        break;
      }
      const std::string_view bytes(room.data(), *got);
      if (!push(chunked_ ? fmt::format("{:x}\r\n{}\r\n", bytes.size(), bytes) : std::string(bytes)))
        return;
    }
    if (!status) log_warning("{}: {}", subject_, status.error().what);
    // Without this the client sees that it is not whole.
    if (status && chunked_ && !push("0\r\n\r\n")) return;
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
      if (gone_) return;
    }
    wake_();
  }

  std::unique_ptr<FileReader> reader_;
  const bool chunked_;
  const std::string subject_;
  std::function<void()> wake_;
  std::thread carrier_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::string> pieces_;
  bool ended_ = false;
  bool gone_ = false;
};

// RFC 8187: any name, in characters that any header takes.
std::string disposition(const std::string& name) {
  std::string out = "attachment; filename*=UTF-8''";
  for (const char c : name) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '.' || c == '_';
    out += plain ? std::string(1, c)
                 : fmt::format("%{:02X}", static_cast<unsigned>(static_cast<unsigned char>(c)));
  }
  return out;
}

Result<Response> get_content(Control& control, const Request& request) {
  const std::string as = request.query_value("as");
  if (!as.empty() && as != "file" && as != "tar")
    return make_error(Code::kInvalidArgument, "query word 'as' is file or tar, not '{}'", as);
  const bool as_tar = as == "tar";
  FileDownload download = HOZON_TRY(control.read_snapshot_files(
      request.part("machine"), request.part("snapshot"), request.query_value("place"), as_tar));
  Response response;
  const std::string name = download.entry.name == "/" ? "root" : download.entry.name;
  response.content_type = as_tar ? "application/x-tar" : "application/octet-stream";
  response.headers.emplace_back("Content-Disposition", disposition(name + (as_tar ? ".tar" : "")));
  // It is a stranger's: no browser shall take it for something to show or run.
  response.headers.emplace_back("X-Content-Type-Options", "nosniff");
  response.headers.emplace_back("Content-Security-Policy", "sandbox; default-src 'none'");
  if (as_tar)
    response.headers.emplace_back("Transfer-Encoding", "chunked");
  else
    response.headers.emplace_back("Content-Length", std::to_string(download.entry.size_bytes));
  response.stream =
      std::make_shared<FileStream>(std::move(download.reader), as_tar,
                                   fmt::format("files of snapshot '{}' of machine '{}'",
                                               request.part("snapshot"), request.part("machine")));
  return response;
}

}  // namespace

void add_files(Router& router, Control& control) {
  const std::string one = "/v1/machines/{machine}/snapshots/{snapshot}";
  router.add({"GET",
              one + "/details",
              {},
              Body::kNone,
              [&control](const Request& request) -> Result<Response> {
                return json_response(200, control::to_json(HOZON_TRY(control.snapshot_details(
                                              request.part("machine"), request.part("snapshot")))));
              }});
  router.add({"GET",
              one + "/filesystems",
              {},
              Body::kNone,
              [&control](const Request& request) -> Result<Response> {
                std::vector<nlohmann::json> items;
                for (const link::Filesystem& filesystem : HOZON_TRY(control.snapshot_filesystems(
                         request.part("machine"), request.part("snapshot"))))
                  items.push_back(to_json(filesystem));
                return list_response(std::move(items));
              }});
  router.add(
      {"GET",
       one + "/files",
       {"place"},
       Body::kNone,
       [&control](const Request& request) -> Result<Response> {
         nlohmann::json listing = control::to_json(HOZON_TRY(control.snapshot_files(
             request.part("machine"), request.part("snapshot"), request.query_value("place"))));
         Response response = list_response(listing.at("items").get<std::vector<nlohmann::json>>());
         listing.erase("items");
         response.listing->beside = std::move(listing);
         return response;
       }});
  router.add(
      {"GET", one + "/content", {"place", "as"}, Body::kNone, [&control](const Request& request) {
         return get_content(control, request);
       }});
}

}  // namespace hozon::api
