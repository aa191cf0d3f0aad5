// A machine is made under the lock of its name: record first (so that it is seen, locked), then its
// directory and volumes; whatever goes wrong, all of it goes away again.
#include <algorithm>
#include <filesystem>

#include "control/clone_disks.h"
#include "control/firmware_state.h"
#include "control/image.h"
#include "control/json.h"
#include "control/names.h"
#include "control/plans.h"
#include "control/settings.h"
#include "qemu/firmware.h"
#include "qemu/tpm.h"

namespace hozon::control {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

Status check_file(std::string_view what, const std::string& path) {
  std::error_code error;
  if (!fs::exists(path, error))
    return make_error(Code::kNotFound, "{} '{}' does not exist", what, path);
  if (fs::is_regular_file(path, error)) return {};
  return make_error(Code::kInvalidArgument, "{} '{}' is not a file", what, path);
}

Status copy_into(const std::string& from, const std::string& to) {
  std::error_code error;
  fs::copy_file(from, to, fs::copy_options::overwrite_existing, error);
  if (error) return errno_error(error.value(), "copy '{}'", from);
  fs::permissions(to, fs::perms::owner_read | fs::perms::owner_write, error);
  return {};
}

Status check_request(const MachineRequest& request, const Options& options) {
  HOZON_TRY(check_name("machine", request.name, kMachineNameMax));
  HOZON_TRY(check_description(request.description));
  HOZON_TRY(check_tags(request.tags));
  if (!request.return_on_shutdown.empty()) {
    HOZON_TRY(check_snapshot_name(request.return_on_shutdown));
    if (request.disks.empty())
      return make_error(Code::kInvalidArgument,
                        "machine '{}' would have no disk that could return to anything",
                        request.name);
  }
  if (request.disks.size() > kDisksMax)
    return make_error(Code::kInvalidArgument, "a machine has at most {} disks", kDisksMax);
  const Firmware firmware = HOZON_TRY(firmware_from_name(request.firmware));
  HOZON_TRY(check_firmware(firmware));
  if (request.nic_count > kNicsMax)
    return make_error(Code::kInvalidArgument, "a machine has at most {} NICs", kNicsMax);
  if (request.disks.empty() && request.kernel.empty())
    return make_error(Code::kInvalidArgument,
                      "machine '{}' would have nothing to boot: give --image, --disk or --kernel",
                      request.name);
  if (request.kernel.empty() && (!request.initrd.empty() || !request.append.empty()))
    return make_error(Code::kInvalidArgument, "--initrd and --append need --kernel");
  if (!request.kernel.empty()) HOZON_TRY(check_file("kernel", request.kernel));
  if (!request.initrd.empty()) HOZON_TRY(check_file("initrd", request.initrd));
  for (const DiskRequest& disk : request.disks) {
    if (disk.image.empty() || disk.size_bytes != 0) HOZON_TRY(check_volume_size(disk.size_bytes));
    if (disk.image.empty()) continue;
    const Image image = HOZON_TRY(inspect_image(disk.image, options.qemu_img));
    if (disk.size_bytes != 0 && disk.size_bytes < image.size_bytes)
      return make_error(Code::kInvalidArgument, "a disk of {} is too small for image '{}' of {}",
                        format_bytes(disk.size_bytes), disk.image, format_bytes(image.size_bytes));
  }
  return {};
}

// Of the firmware's variables, or the TPM.
Status create_state_volume(Core& core, JobRun& run, const MachineRow& machine, Disk& disk) {
  const bool is_tpm = disk.id == kTpmDisk;
  const Firmware firmware = HOZON_TRY(firmware_from_name(machine.firmware));
  HOZON_TRY(core.create_volume(run, disk.pool, disk.volume, is_tpm ? kTpmVolumeBytes : 0,
                               is_tpm ? std::string() : firmware_files(firmware).variables));
  disk.size_bytes = HOZON_TRY(core.storage.volume(disk.pool, disk.volume)).size_bytes;
  return {};
}

// The volumes that a new machine gets: its disks, and what its firmware and TPM need.
std::vector<Disk> wanted_disks(const MachineRequest& request) {
  std::vector<Disk> disks;
  const auto add = [&](const std::string& id, uint64_t size_bytes) {
    disks.push_back({id, volume_of_disk(request.name, id), request.pool, size_bytes, true});
  };
  for (size_t i = 0; i < request.disks.size(); ++i) add(disk_id(i), request.disks[i].size_bytes);
  if (request.firmware != firmware_name(Firmware::kBios)) add(kNvramDisk, 0);
  if (request.tpm) add(kTpmDisk, kTpmVolumeBytes);
  return disks;
}

}  // namespace

Result<std::string> Core::fresh_mac() {
  for (;;) {
    std::string mac = new_mac_address();
    if (!HOZON_TRY(inventory.is_mac_used(mac))) return mac;
  }
}

Result<json> Core::do_create(JobRun& run, const MachineRequest& request, MachineRow machine) {
  const std::string home = machine_directory(machine.uuid);
  HOZON_TRY(run.journal("machine.forget", {{"machine", machine.uuid}}));
  HOZON_TRY(inventory.insert_machine(machine));
  std::error_code error;
  fs::create_directories(home, error);
  if (error) return errno_error(error.value(), "make '{}'", home);
  fs::permissions(home, fs::perms::owner_all, error);
  if (machine.has_kernel) HOZON_TRY(copy_into(request.kernel, home + "/" + kKernelFile));
  if (machine.has_initrd) HOZON_TRY(copy_into(request.initrd, home + "/" + kInitrdFile));
  for (size_t i = 0; i < request.disks.size(); ++i) {
    HOZON_TRY(run.check());
    Disk& disk = machine.disks[i];
    HOZON_TRY(create_volume(run, disk.pool, disk.volume, request.disks[i].size_bytes,
                            request.disks[i].image));
    disk.size_bytes = HOZON_TRY(storage.volume(disk.pool, disk.volume)).size_bytes;
  }
  for (size_t i = request.disks.size(); i < machine.disks.size(); ++i)
    HOZON_TRY(create_state_volume(*this, run, machine, machine.disks[i]));
  std::optional<SnapshotRow> initial;
  if (!request.return_on_shutdown.empty()) {
    initial = HOZON_TRY(make_first_snapshot(*this, run, machine, request.return_on_shutdown,
                                            "what the machine returns to"));
    initial->marks = marks_of_initial(machine.name);
  }
  const auto record = [&]() -> Status {
    HOZON_TRY(inventory.update_machine(machine));
    return initial ? record_initial(*this, machine, *initial) : Status();
  };
  HOZON_TRY(run.commit(record));
  return machine_json(machine.uuid);
}

Result<JobId> Control::start_machine_create(const MachineRequest& request, const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  if (!request.from_template.empty()) return start_from_template(*core_, request, caller);
  HOZON_TRY(check_request(request, core_->options));
  if (core_->inventory.machine(request.name))
    return make_error(Code::kAlreadyExists, "a machine named '{}' exists", request.name);
  HOZON_TRY(core_->storage.stats(request.pool));
  MachineRow row;
  row.uuid = new_uuid();
  row.name = request.name;
  row.description = request.description;
  row.pool = request.pool;
  row.memory_bytes = request.memory_bytes;
  row.cpus = request.cpus;
  row.machine_type = HOZON_TRY(core_->qemu()).machine_type;
  const AcceleratorChoice choice = HOZON_TRY(core_->accelerator());
  row.cpu_model = choice.cpu_model;
  row.has_kernel = !request.kernel.empty();
  row.has_initrd = !request.initrd.empty();
  row.append = request.append;
  row.vmgenid = new_uuid();
  row.created_ns = wall_clock_ns();
  row.firmware = request.firmware;
  row.tags = request.tags;
  row.disks = wanted_disks(request);
  for (const Disk& disk : row.disks)
    if (core_->storage.volume(disk.pool, disk.volume))
      return make_error(Code::kAlreadyExists,
                        "a volume named '{}' is in the way of machine '{}': delete or clone it",
                        disk.volume, request.name);
  for (unsigned i = 0; i < request.nic_count; ++i)
    row.nics.push_back({fmt::format("net{}", i), HOZON_TRY(core_->fresh_mac()), "user"});
  HOZON_TRY(validate_spec(
      spec_of(row, core_->storage, core_->machine_directory(row.uuid), choice.accelerator)));
  if (caller.plan) HOZON_TRY(plan_machine_create(*core_, request, *caller.plan));
  return core_->jobs.begin({.kind = "machine.create",
                            .object = request.name,
                            .caller = caller,
                            .locks = {Core::machine_lock(row.uuid), Core::name_lock(row.name)},
                            .subject = fmt::format("machine name '{}'", row.name)},
                           [core = core_.get(), request, row](JobRun& run) {
                             return core->do_create(run, request, row);
                           });
}

}  // namespace hozon::control
