// Completing an event may ask the inventory, which the publisher may hold; so it is done by a
// thread of its own, which holds nothing.
#include "control/event_log.h"

#include "control/json.h"
#include "control/names.h"

namespace hozon::control {

nlohmann::json to_json(const Event& event) {
  return {{"id", event.id},         {"time", utc_text(event.time_ns)},
          {"kind", event.kind},     {"change", event.change},
          {"uuid", event.uuid},     {"name", event.name},
          {"parent", event.parent}, {"status", event.status},
          {"detail", event.detail}};
}

void EventLog::begin(Complete complete) {
  complete_ = std::move(complete);
  thread_ = std::thread([this] { run(); });
}

void EventLog::end() {
  {
    const std::lock_guard guard(mutex_);
    ended_ = true;
  }
  published_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void EventLog::publish(Event event) {
  event.time_ns = wall_clock_ns();
  {
    const std::lock_guard guard(mutex_);
    if (ended_) return;
    if (waiting_.size() >= kWaitingMax) {  // keeps L2: a number is missing, so readers notice
      waiting_.pop_front();
      ++next_id_;
      kept_.clear();
    }
    waiting_.push_back(std::move(event));
  }
  published_.notify_all();
}

void EventLog::run() {
  std::unique_lock guard(mutex_);
  for (;;) {
    published_.wait(guard, [this] { return ended_ || !waiting_.empty(); });
    if (ended_) return;
    std::deque<Event> batch;
    batch.swap(waiting_);
    guard.unlock();
    for (Event& event : batch) complete_(event);
    guard.lock();
    for (Event& event : batch) keep(std::move(event));
    guard.unlock();
    {
      const std::lock_guard readers(readers_mutex_);
      for (const auto& [number, wake] : readers_) wake();
    }
    guard.lock();
  }
}

void EventLog::keep(Event event) {
  event.id = next_id_++;
  kept_.push_back(std::move(event));
  if (kept_.size() > kKept) kept_.pop_front();
}

EventLog::Page EventLog::read(uint64_t after, size_t most) const {
  Page page;
  const std::lock_guard guard(mutex_);
  const uint64_t first = kept_.empty() ? next_id_ : kept_.front().id;
  if (after + 1 < first || after >= next_id_) {
    page.lost = true;
    return page;
  }
  for (size_t i = after + 1 - first; i < kept_.size() && page.events.size() < most; ++i)
    page.events.push_back(kept_[i]);
  return page;
}

uint64_t EventLog::newest() const {
  const std::lock_guard guard(mutex_);
  return next_id_ - 1;
}

uint64_t EventLog::oldest() const {
  const std::lock_guard guard(mutex_);
  return (kept_.empty() ? next_id_ : kept_.front().id) - 1;
}

uint64_t EventLog::subscribe(std::function<void()> wake) {
  const std::lock_guard guard(readers_mutex_);
  readers_[next_reader_] = std::move(wake);
  return next_reader_++;
}

void EventLog::unsubscribe(uint64_t subscription) {
  const std::lock_guard guard(readers_mutex_);
  readers_.erase(subscription);
}

}  // namespace hozon::control
