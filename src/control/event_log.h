// src/control/event_log.h
// What changed, in the order in which it changed: one Event for every change of every object. The
// source of GET /v1/events.
//
// An event goes   published   by whoever noticed the change, under any lock
//                 completed   by a thread of the log: names and states that the publisher lacked
//                 kept        in a ring of the newest kKept, from which readers take at their pace
// Invariants
//   L1  Numbers grow by one, and never come twice: the first one of a run of this program is the
//       time of its start in microseconds, or more when the clock was set back (first_event_id()),
//       so that those of earlier runs are smaller.
//   L2  A reader that is not up to date gets all that it has not seen, or is told that it cannot.
//   L3  publish() waits for no reader and for no database; a reader holds nobody up.
// Bounds: kKept events are kept, kWaitingMax wait to be completed; beyond that the oldest go, and
// readers are told (L2). Threading: any thread.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace hozon::control {

struct Event {
  uint64_t id = 0;
  uint64_t time_ns = 0;
  std::string kind = {};    // "machine", "snapshot", "job", "pool", "volume", "point", ...
  std::string change = {};  // "created", "changed", "deleted"
  std::string uuid = {};    // of a job its number; empty: known by its name alone
  std::string name = {};
  std::string parent = {};  // machine of a snapshot, pool of a volume, volume of a point
  std::string status = {};  // as its record shows it; empty: did not change, or has none
  std::string detail = {};  // kind and step of a job
};

nlohmann::json to_json(const Event& event);
// All that an event can be of, sorted (inventory_events.cc has most of them).
std::set<std::string> event_kinds();

class EventLog {
 public:
  static constexpr size_t kKept = 8192;
  static constexpr size_t kWaitingMax = 65'536;

  using Complete = std::function<void(Event&)>;
  explicit EventLog(uint64_t first_id) : next_id_(first_id) {}
  ~EventLog() { end(); }
  EventLog(const EventLog&) = delete;
  EventLog& operator=(const EventLog&) = delete;

  // Events that came before are completed, too. `complete` is called on the log's thread.
  void begin(Complete complete);
  void end();  // afterwards publish() does nothing

  void publish(Event event);

  struct Page {
    std::vector<Event> events;
    bool lost = false;  // some after `after` are not kept any more, or it is of another run
  };
  // The events that follow number `after`, oldest first.
  Page read(uint64_t after, size_t most) const;
  uint64_t newest() const;  // number of the newest one, or the one before the first
  uint64_t oldest() const;  // the smallest number that read() can continue from

  // `wake` is called (on the log's thread, and must be quick) when there is something new.
  uint64_t subscribe(std::function<void()> wake);
  void unsubscribe(uint64_t subscription);  // wake is not running any more when this returns

 private:
  void run();
  void keep(Event event);

  mutable std::mutex mutex_;
  std::condition_variable published_;
  std::deque<Event> waiting_;
  std::deque<Event> kept_;
  uint64_t next_id_;
  bool ended_ = false;
  Complete complete_;
  std::thread thread_;

  std::mutex readers_mutex_;
  std::map<uint64_t, std::function<void()>> readers_;
  uint64_t next_reader_ = 1;
};

}  // namespace hozon::control
