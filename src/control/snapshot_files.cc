#include "control/snapshot_files.h"

#include <algorithm>

#include "control/core.h"
#include "control/firmware_state.h"
#include "control/names.h"
#include "link/protocol.h"
#include "link/unix_socket.h"

namespace hozon::control {
namespace {

using nlohmann::json;

// Not the state of its firmware, and not its memory.
bool is_guest_disk(const SnapshotDisk& disk) {
  return disk.disk != kMemoryDisk && disk.disk != kNvramDisk && disk.disk != kTpmDisk;
}

bool has_guest_disk(const SnapshotRow& snapshot) {
  return std::ranges::any_of(snapshot.disks,
                             [](const SnapshotDisk& disk) { return is_guest_disk(disk); });
}

struct Asked {
  MachineRow machine;
  SnapshotRow snapshot;
};

Result<Asked> find_snapshot(Core& core, const std::string& machine, const std::string& snapshot) {
  Asked asked;
  asked.machine = HOZON_TRY(core.inventory.machine(machine));
  asked.snapshot = HOZON_TRY(core.listed_snapshot(asked.machine, snapshot));
  if (asked.snapshot.status == "in_preview") return asked;
  asked.snapshot = HOZON_TRY(core.usable_snapshot(asked.machine, snapshot));
  return asked;
}

// The sentence of a reader, with the object that it is about. A snapshot that went meanwhile is
// the true reason of whatever else failed.
std::unexpected<Error> explain(Core& core, const Asked& asked, const Error& error) {
  const std::string object =
      fmt::format("snapshot '{}' of machine '{}'", asked.snapshot.name, asked.machine.name);
  const auto now = core.inventory.snapshot(asked.machine.uuid, asked.snapshot.uuid);
  if (!now || now->status == "trashed")
    return make_error(Code::kNotFound, "{} was deleted meanwhile", object);
  return add_context(error, object);
}

Result<std::unique_ptr<FileReader>> start_reader(Core& core, const Asked& asked,
                                                 link::FileQuery query) {
  std::vector<Fd> sockets;
  for (const SnapshotDisk& disk : asked.snapshot.disks) {
    if (!is_guest_disk(disk)) continue;
    if (!query.filesystem.empty() && !query.filesystem.starts_with(disk.disk)) continue;
    query.disks.push_back(disk.disk);
    query.exports.push_back(Storage::export_name(disk.volume, disk.point));
    sockets.push_back(HOZON_TRY(link::connect_unix(core.storage.nbd_socket(disk.pool))));
  }
  if (query.disks.empty())
    return query.filesystem.empty()
               ? make_error(Code::kNotFound, "it holds no disk")
               : make_error(Code::kNotFound, "no disk of it has a file system '{}'",
                            link::name_text(query.filesystem));
  return FileReader::start(core.options.program_directory + "/hozon-files", query,
                           std::move(sockets));
}

Result<json> ask(Core& core, const Asked& asked, const link::FileQuery& query,
                 std::unique_ptr<FileReader>& reader) {
  reader = HOZON_TRY(start_reader(core, asked, query));
  return reader->first_line();
}

Result<std::vector<link::Filesystem>> decode_filesystems(const json& answer) {
  std::vector<link::Filesystem> all;
  const auto found = answer.find("filesystems");
  if (found == answer.end() || !found->is_array() || found->size() > link::kFilesystemsMax * 26)
    return make_error(Code::kInternal, "the reader of files is confused");
  for (const json& item : *found) all.push_back(HOZON_TRY(link::decode_filesystem(item)));
  return all;
}

Result<FileListing> decode_listing(const json& answer) {
  FileListing listing;
  listing.filesystem = HOZON_TRY(link::string_field(answer, "filesystem"));
  const auto entry = answer.find("entry");
  if (entry == answer.end()) return make_error(Code::kInternal, "an answer without its object");
  listing.entry = HOZON_TRY(link::decode_file_entry(*entry));
  const auto entries = answer.find("entries");
  if (entries == answer.end()) return listing;
  if (!entries->is_array() || entries->size() > link::kEntriesMax)
    return make_error(Code::kInternal, "a list that is none, or too long a one");
  for (const json& item : *entries)
    listing.entries.push_back(HOZON_TRY(link::decode_file_entry(item)));
  return listing;
}

Result<link::FileQuery> query_of(const std::string& op, const std::string& place) {
  link::FilePlace parsed = HOZON_TRY(link::parse_file_place(place));
  return link::FileQuery{.op = op,
                         .disks = {},
                         .exports = {},
                         .filesystem = std::move(parsed.filesystem),
                         .path = std::move(parsed.path)};
}

}  // namespace

json to_json(const FileListing& listing) {
  json entries = json::array();
  for (const link::FileEntry& entry : listing.entries) entries.push_back(to_json(entry));
  return {{"filesystem", listing.filesystem},
          {"entry", to_json(listing.entry)},
          {"items", std::move(entries)}};
}

Result<std::vector<link::Filesystem>> Control::snapshot_filesystems(
    const std::string& machine, const std::string& snapshot) const {
  const Asked asked = HOZON_TRY(find_snapshot(*core_, machine, snapshot));
  std::unique_ptr<FileReader> reader;
  link::FileQuery query;
  query.op = "filesystems";
  if (!has_guest_disk(asked.snapshot)) return std::vector<link::Filesystem>();
  const auto answer = ask(*core_, asked, query, reader);
  if (!answer) return explain(*core_, asked, answer.error());
  auto all = decode_filesystems(*answer);
  if (!all) return explain(*core_, asked, all.error());
  return all;
}

Result<FileListing> Control::snapshot_files(const std::string& machine, const std::string& snapshot,
                                            const std::string& place) const {
  const link::FileQuery query = HOZON_TRY(query_of("list", place));
  const Asked asked = HOZON_TRY(find_snapshot(*core_, machine, snapshot));
  std::unique_ptr<FileReader> reader;
  const auto answer = ask(*core_, asked, query, reader);
  if (!answer) return explain(*core_, asked, answer.error());
  auto listing = decode_listing(*answer);
  if (!listing) return explain(*core_, asked, listing.error());
  return listing;
}

Result<FileDownload> Control::read_snapshot_files(const std::string& machine,
                                                  const std::string& snapshot,
                                                  const std::string& place, bool as_tar) const {
  link::FileQuery query = HOZON_TRY(query_of("read", place));
  query.as_tar = as_tar;
  const Asked asked = HOZON_TRY(find_snapshot(*core_, machine, snapshot));
  FileDownload download;
  const auto answer = ask(*core_, asked, query, download.reader);
  if (!answer) return explain(*core_, asked, answer.error());
  const auto listing = decode_listing(*answer);
  if (!listing) return explain(*core_, asked, listing.error());
  download.filesystem = listing->filesystem;
  download.entry = listing->entry;
  return download;
}

}  // namespace hozon::control
