// src/control/memory_image.h
// Saved memories that running guests map: pages come when they are touched, and guests that go on
// from one snapshot share them (qemu/ram_serve.h).
//
// Each is a directory D/images/<id> with its server's files and the mount, and a volume of its own,
// "ram-image-<id>", a clone of the snapshot's memory: the snapshot may be deleted while guests map
// it. The id is the uuid of the snapshot that was saved; clones of a machine know it, too.
// Invariants
//   M1  An image whose id stands in the file "image" of a machine that is not down is served.
//   M2  Nothing is left of an image once nobody maps it: collect() looks every few seconds.
// Threading: any thread.
#pragma once

#include <map>
#include <mutex>
#include <string>

#include "control/inventory.h"

namespace hozon::control {

class Core;

class MemoryImages {
 public:
  explicit MemoryImages(Core& core) : core_(core) {}

  // Keeps an image while a QEMU is being started on it.
  class Lease {
   public:
    Lease(MemoryImages& images, std::string id, std::string file)
        : images_(&images), id_(std::move(id)), file_(std::move(file)) {}
    Lease(Lease&& other) noexcept
        : images_(std::exchange(other.images_, nullptr)),
          id_(std::move(other.id_)),
          file_(std::move(other.file_)) {}
    Lease& operator=(Lease&&) = delete;
    ~Lease() {
      if (images_ != nullptr) images_->release(id_);
    }
    const std::string& file() const { return file_; }  // for MachineSpec::memory_file

   private:
    MemoryImages* images_;
    std::string id_;
    std::string file_;
  };

  // Serves the snapshot's memory and notes that the machine uses it. kUnimplemented: no FUSE here.
  Result<Lease> acquire(const MachineRow& machine, const SnapshotRow& snapshot);
  // The machine's next QEMU has memory of its own.
  void forget(const std::string& machine_uuid);
  // Whether the machine's QEMU maps an image.
  bool is_mapped(const std::string& machine_uuid) const;
  // M2.
  void collect();

  static std::string id_of(const SnapshotRow& snapshot);
  static bool is_image_volume(const std::string& volume);

 private:
  std::string directory_of(const std::string& id) const;
  std::string note_of(const std::string& machine_uuid) const;
  Status serve(const std::string& id, const MachineRow& machine, const SnapshotRow& snapshot);
  Status remove(const std::string& id);
  bool is_used(const std::string& id) const;
  void release(const std::string& id);

  Core& core_;
  std::mutex mutex_;                     // one at a time serves or removes
  std::map<std::string, int> starting_;  // leases per image
};

}  // namespace hozon::control
