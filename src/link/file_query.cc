#include "link/file_query.h"

#include <algorithm>

#include "base/text.h"
#include "link/protocol.h"

namespace hozon::link {
namespace {

using nlohmann::json;

constexpr size_t kTextMax = 4 * kFilePathMax + 16;  // every byte of a name written as \xHH
constexpr size_t kDisksMax = 32;

// Nothing that moves a cursor, turns a line around or is not seen.
bool is_plain(std::string_view character) {
  const auto lead = static_cast<unsigned char>(character[0]);
  if (character.size() == 1) return lead >= 0x20 && lead < 0x7f && lead != '\\';
  if (character.size() == 2 && lead == 0xc2)
    return static_cast<unsigned char>(character[1]) >= 0xa0;
  if (character.size() == 3 && lead == 0xe2) {
    const auto second = static_cast<unsigned char>(character[1]);
    const auto third = static_cast<unsigned char>(character[2]);
    const bool invisible =
        second == 0x80 && ((third >= 0x8b && third <= 0x8f) || (third >= 0xa8 && third <= 0xae));
    const bool isolates = second == 0x81 && third >= 0xa0 && third <= 0xaf;
    return !invisible && !isolates;
  }
  return true;
}

// Text of a reader, in the form of name_text() whatever it says.
Result<std::string> bounded_text(const json& object, std::string_view name) {
  const std::string text = HOZON_TRY(string_field(object, name));
  if (text.size() > kTextMax)
    return make_error(Code::kInvalidArgument, "field '{}' has {} bytes", name, text.size());
  std::string safe;
  for (std::string_view rest = text; !rest.empty();) {
    const size_t length = std::max<size_t>(utf8_length(rest), 1);
    const std::string_view character = rest.substr(0, length);
    safe += character == "\\" ? std::string(character) : name_text(character);
    rest.remove_prefix(length);
  }
  return safe;
}

Result<std::vector<std::string>> bounded_texts(const json& object, const std::string& name) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_array() || found->size() > kDisksMax)
    return make_error(Code::kInvalidArgument, "field '{}' is no list, or too long a one", name);
  std::vector<std::string> texts;
  for (const json& item : *found) {
    if (!item.is_string())
      return make_error(Code::kInvalidArgument, "field '{}' holds something but texts", name);
    texts.push_back(item.get<std::string>());
  }
  return texts;
}

}  // namespace

std::string name_text(std::string_view bytes) {
  std::string text;
  while (!bytes.empty()) {
    const size_t length = utf8_length(bytes);
    if (length > 0 && is_plain(bytes.substr(0, length))) {
      text += bytes.substr(0, length);
      bytes.remove_prefix(length);
    } else {
      text += fmt::format("\\x{:02x}", static_cast<unsigned char>(bytes[0]));
      bytes.remove_prefix(1);
    }
  }
  return text;
}

Result<std::string> name_bytes(std::string_view text) {
  std::string bytes;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      bytes += text[i];
      continue;
    }
    const bool fits = i + 3 < text.size() && text[i + 1] == 'x';
    const int high = fits ? hex_digit(text[i + 2]) : -1;
    const int low = fits ? hex_digit(text[i + 3]) : -1;
    if (high < 0 || low < 0)
      return make_error(Code::kInvalidArgument,
                        "in path '{}' a backslash is not the beginning of \\xHH: write one that is "
                        "part of a name as \\x5c",
                        name_text(text));
    bytes += static_cast<char>(high * 16 + low);
    i += 3;
  }
  if (bytes.find('\0') != std::string::npos)
    return make_error(Code::kInvalidArgument, "no name has a zero byte in it");
  return bytes;
}

Result<FilePlace> parse_file_place(std::string_view text) {
  FilePlace place;
  const size_t colon = text.starts_with('/') ? std::string_view::npos : text.find(':');
  if (colon != std::string_view::npos) place.filesystem = text.substr(0, colon);
  place.path = colon == std::string_view::npos ? text : text.substr(colon + 1);
  const bool named = std::ranges::all_of(
      place.filesystem, [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); });
  if (!place.path.starts_with('/') || !named || (colon == 0))
    return make_error(Code::kInvalidArgument,
                      "'{}' is not a place such as /etc/fstab or vda1:/etc/fstab", name_text(text));
  if (place.path.size() > kFilePathMax)
    return make_error(Code::kInvalidArgument, "a path has at most {} bytes", kFilePathMax);
  HOZON_TRY(name_bytes(place.path));
  return place;
}

std::string encode(const FileQuery& query) {
  const json object = {{"op", query.op},           {"disks", query.disks},
                       {"exports", query.exports}, {"filesystem", query.filesystem},
                       {"path", query.path},       {"as_tar", query.as_tar}};
  return object.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

Result<FileQuery> decode_file_query(std::string_view line) {
  const json object = json::parse(line, nullptr, false);
  if (!object.is_object()) return make_error(Code::kInvalidArgument, "the question is no object");
  FileQuery query;
  query.op = HOZON_TRY(string_field(object, "op"));
  query.disks = HOZON_TRY(bounded_texts(object, "disks"));
  query.exports = HOZON_TRY(bounded_texts(object, "exports"));
  if (query.disks.size() != query.exports.size())
    return make_error(Code::kInvalidArgument, "each disk has one export");
  query.filesystem = HOZON_TRY(string_field(object, "filesystem"));
  query.path = HOZON_TRY(string_field(object, "path"));
  query.as_tar = HOZON_TRY(bool_field_or(object, "as_tar", false));
  return query;
}

json to_json(const Filesystem& filesystem) {
  return {{"name", filesystem.name},
          {"disk", filesystem.disk},
          {"type", filesystem.type},
          {"label", filesystem.label},
          {"readable", filesystem.reason.empty()},
          {"reason", filesystem.reason},
          {"note", filesystem.note},
          {"offset_bytes", filesystem.offset_bytes},
          {"size_bytes", filesystem.size_bytes}};
}

json to_json(const FileEntry& entry) {
  return {{"name", entry.name},     {"kind", entry.kind},
          {"target", entry.target}, {"size_bytes", entry.size_bytes},
          {"mode", entry.mode},     {"uid", entry.uid},
          {"gid", entry.gid},       {"modified_ns", entry.modified_ns}};
}

Result<Filesystem> decode_filesystem(const json& object) {
  Filesystem filesystem;
  filesystem.name = HOZON_TRY(bounded_text(object, "name"));
  filesystem.disk = HOZON_TRY(bounded_text(object, "disk"));
  filesystem.type = HOZON_TRY(bounded_text(object, "type"));
  filesystem.label = HOZON_TRY(bounded_text(object, "label"));
  filesystem.reason = HOZON_TRY(bounded_text(object, "reason"));
  filesystem.note = HOZON_TRY(bounded_text(object, "note"));
  filesystem.offset_bytes = HOZON_TRY(u64_field(object, "offset_bytes"));
  filesystem.size_bytes = HOZON_TRY(u64_field(object, "size_bytes"));
  return filesystem;
}

Result<FileEntry> decode_file_entry(const json& object) {
  FileEntry entry;
  entry.name = HOZON_TRY(bounded_text(object, "name"));
  entry.kind = HOZON_TRY(bounded_text(object, "kind"));
  entry.target = HOZON_TRY(bounded_text(object, "target"));
  entry.size_bytes = HOZON_TRY(u64_field(object, "size_bytes"));
  entry.mode = HOZON_TRY(u64_field(object, "mode"));
  entry.uid = HOZON_TRY(u64_field(object, "uid"));
  entry.gid = HOZON_TRY(u64_field(object, "gid"));
  entry.modified_ns = HOZON_TRY(u64_field(object, "modified_ns"));
  return entry;
}

}  // namespace hozon::link
