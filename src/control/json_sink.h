// src/control/json_sink.h
// Two forms of the same members: an object that a program goes on with, and the text of an answer,
// which is made many times faster and can leave members out. A value says its members once:
//
//   template <typename Sink> void describe(Sink& to, const Disk& disk) { to("id", disk.id); ... }
//
// Members may be texts, numbers, flags, Utc, JSON, values with a describe() of their own, and
// optionals (null when absent) and vectors of these. Only json.cc includes this.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <concepts>

#include "control/json.h"

namespace hozon::control {

// A time that is shown as text: utc_text(), when it is asked for.
struct Utc {
  uint64_t wall_ns;
};

class ToText {
 public:
  ToText(std::string& out, const Members& wanted) : out_(out), wanted_(wanted) { out_ += '{'; }
  void end() { out_ += '}'; }
  template <typename T>
  void operator()(std::string_view name, const T& value) {
    if (!wanted_.wants(name)) return;
    if (out_.back() != '{') out_ += ',';
    out_ += '"';
    out_ += name;
    out_ += "\":";
    write(value);
  }

 private:
  void write(const std::string& text) {
    const bool plain = std::ranges::all_of(text, [](char c) {
      const auto byte = static_cast<unsigned char>(c);
      return byte >= 0x20 && byte < 0x80 && c != '"' && c != '\\';
    });
    if (plain)
      out_.append("\"").append(text).append("\"");
    else
      write(nlohmann::json(text));
  }
  void write(std::string_view text) { write(std::string(text)); }
  void write(const char* text) { write(std::string(text)); }
  void write(bool flag) { out_ += flag ? "true" : "false"; }
  template <std::integral T>
  void write(T number) {
    const fmt::format_int digits(number);
    out_.append(digits.data(), digits.size());
  }
  void write(Utc time) { write(utc_text(time.wall_ns)); }
  void write(const nlohmann::json& json) {
    out_ += json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
  template <typename T>
  void write(const std::optional<T>& value) {
    if (value)
      write(*value);
    else
      out_ += "null";
  }
  template <typename T>
  void write(const std::vector<T>& values) {
    out_ += '[';
    for (size_t i = 0; i < values.size(); ++i) {
      if (i != 0) out_ += ',';
      write(values[i]);
    }
    out_ += ']';
  }
  template <typename T>
    requires std::is_class_v<T>
  void write(const T& value) {
    static const Members kAll;
    ToText members(out_, kAll);
    describe(members, value);
    members.end();
  }

  std::string& out_;
  const Members& wanted_;
};

class ToObject {
 public:
  template <typename T>
  static nlohmann::json of(const T& value) {
    ToObject members;
    describe(members, value);
    return std::move(members.object_);
  }
  template <typename T>
  void operator()(const char* name, const T& value) {
    object_[name] = form(value);
  }

 private:
  template <typename T>
    requires std::constructible_from<nlohmann::json, T>
  static nlohmann::json form(const T& value) {
    return value;
  }
  static nlohmann::json form(Utc time) { return utc_text(time.wall_ns); }
  template <typename T>
  static nlohmann::json form(const std::optional<T>& value) {
    return value ? form(*value) : nlohmann::json(nullptr);
  }
  template <typename T>
  static nlohmann::json form(const std::vector<T>& values) {
    nlohmann::json array = nlohmann::json::array();
    for (const T& value : values) array.push_back(form(value));
    return array;
  }
  template <typename T>
    requires(std::is_class_v<T> && !std::constructible_from<nlohmann::json, T>)
  static nlohmann::json form(const T& value) {
    return of(value);
  }

  nlohmann::json object_ = nlohmann::json::object();
};

}  // namespace hozon::control
