// /v1/events: server-sent events, one for each change of an object.
//
//   id: 1794000000000001                 grows; a client that comes back sends Last-Event-ID
//   event: machine                       the kind of the object
//   data: {"id":...,"time":...,"kind":"machine","change":"changed","uuid":...,"name":"web",
//          "parent":"","status":"image_locked","detail":""}
//
// The first event of a stream is "hello" with the number to continue from; a client that cannot be
// given all that it has not seen gets "reset" instead, and has to list anew what it shows. A stream
// that falls behind by more than is kept gets "reset" too, and goes on with what is new.
// A connection in which nothing happens gets comments (": still here").
#include <fmt/ranges.h>

#include <charconv>
#include <set>

#include "api/handlers.h"
#include "control/event_log.h"

namespace hozon::api {
namespace {

using control::Event;
using control::EventLog;
using nlohmann::json;

constexpr size_t kEventsAtOnce = 128;
constexpr size_t kKindsMax = 32;

struct Filter {
  std::set<std::string, std::less<>> kinds;  // empty: all
  std::string object;                        // empty: all

  bool takes(const Event& event) const {
    if (!kinds.empty() && !kinds.contains(event.kind)) return false;
    return object.empty() || object == event.uuid || object == event.name ||
           object == event.parent || event.name.starts_with(object + "@");
  }
};

std::string frame(uint64_t id, std::string_view kind, const json& data) {
  return fmt::format("id: {}\nevent: {}\ndata: {}\n\n", id, kind,
                     data.dump(-1, ' ', false, json::error_handler_t::replace));
}

class EventStream : public ByteStream {
 public:
  EventStream(EventLog& log, Filter filter, std::optional<uint64_t> after)
      : log_(log), filter_(std::move(filter)) {
    at_ = after.value_or(log.newest());
    const bool lost = log.read(at_, 0).lost;
    greeting_ = lost ? reset() : frame(at_, "hello", {{"id", at_}});
  }
  ~EventStream() override {
    if (subscription_ != 0) log_.unsubscribe(subscription_);
  }

  void on_more(std::function<void()> wake) override {
    subscription_ = log_.subscribe(std::move(wake));
  }

  std::optional<std::string> take() override {
    std::string out = std::exchange(greeting_, {});
    // What the filter leaves out is passed over here, as far as it reaches.
    while (out.empty()) {
      const EventLog::Page page = log_.read(at_, kEventsAtOnce);
      if (page.lost) return reset();
      if (page.events.empty()) break;
      for (const Event& event : page.events)
        if (filter_.takes(event)) out += frame(event.id, event.kind, control::to_json(event));
      at_ = page.events.back().id;
    }
    return out;
  }

  std::string heartbeat() const override { return ": still here\n\n"; }

 private:
  std::string reset() {
    at_ = log_.newest();
    return frame(
        at_, "reset",
        {{"id", at_},
         {"reason", "events were missed that are not kept any more: list the objects anew"}});
  }

  EventLog& log_;
  Filter filter_;
  uint64_t at_ = 0;  // the newest event that was sent or passed over
  std::string greeting_;
  uint64_t subscription_ = 0;
};

Result<Filter> filter_of(const Request& request) {
  static const std::set<std::string> kKnown = control::event_kinds();
  Filter filter;
  filter.object = request.query_value("object");
  std::string kinds = request.query_value("kind");
  for (size_t i = 0, end = kinds.empty() ? std::string::npos : 0; end != std::string::npos; ++i) {
    end = kinds.find(',');
    const std::string kind = kinds.substr(0, end);
    if (end != std::string::npos) kinds.erase(0, end + 1);
    if (!kKnown.contains(kind) || i >= kKindsMax)
      return make_error(Code::kInvalidArgument,
                        "there are no events of kind '{}'; the kinds are {}", kind,
                        fmt::join(kKnown, ", "));
    filter.kinds.insert(kind);
  }
  return filter;
}

Result<std::optional<uint64_t>> start_of(const Request& request) {
  std::optional<uint64_t> after;
  std::string text = request.query_value("after");
  if (request.has_header("last-event-id")) text = request.header("last-event-id");
  if (text.empty()) return after;
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size())
    return make_error(Code::kInvalidArgument, "'{}' is not the number of an event", text);
  after = number;
  return after;
}

}  // namespace

void add_events(Router& router, control::Control& control) {
  router.add({"GET",
              "/v1/events",
              {"kind", "object", "after"},
              Body::kNone,
              [&control](const Request& request) -> Result<Response> {
                Response response;
                response.content_type = "text/event-stream";
                response.stream = std::make_shared<EventStream>(
                    control.events(), HOZON_TRY(filter_of(request)), HOZON_TRY(start_of(request)));
                return response;
              }});
}

}  // namespace hozon::api
