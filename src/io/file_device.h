// src/io/file_device.h
// A Device over a regular file or block device, through a Loop.
//
// Direct I/O is used when asked for and the filesystem can do it; otherwise writes go through the
// page cache, which satisfies D1 as well. Opening takes an exclusive flock: a second opener, in
// this process or another, is refused with kBusy.
#pragma once

#include <memory>
#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "io/device.h"
#include "io/loop.h"
#include "io/reserve_file.h"

namespace hozon {

class FileDevice : public Device {
 public:
  struct OpenOptions {
    bool direct = true;      // O_DIRECT where possible
    bool read_only = false;  // writes fail with -EBADF; takes a shared lock
    bool lock = true;
  };
  // kNotFound, kBusy ("... is already open in another process"), kPermissionDenied, kIo.
  static Result<std::unique_ptr<FileDevice>> open(Loop& loop, const std::string& path,
                                                  OpenOptions options);
  // Makes a new file of `size_bytes` (refuses an existing one) and syncs file and directory.
  // Its last `written_bytes` are written as zeros, so that later overwrites of them change no
  // filesystem metadata; the rest is a hole.
  static Status create_file(const std::string& path, uint64_t size_bytes, uint64_t written_bytes);

  // Keeps room aside from now on, in a file at `path`.
  Status keep_reserve(const std::string& path, uint64_t size_bytes);

  uint64_t size_bytes() const override;
  void submit(IoOp& op) override;
  int write_now(uint64_t offset, std::span<const std::byte> from) override;
  void hasten(uint64_t offset, uint64_t size) override;
  bool release_reserve() override { return reserve_.release(); }
  int renew_reserve() override { return reserve_.renew(); }
  bool is_reserve_used() const override { return reserve_.is_used(); }

 private:
  FileDevice(Loop& loop, Fd file, Fd buffered, uint64_t size_bytes);
  Loop& loop_;
  Fd file_;
  Fd buffered_;  // the same file through the page cache, for write_now()
  uint64_t size_bytes_;
  ReserveFile reserve_;
};

}  // namespace hozon
