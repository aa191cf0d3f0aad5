// src/qemu/huge_pages.h
// A guest's memory lies in huge pages of 2 MiB until it is saved while the guest runs: the
// protection is lifted page by page, and that breaks every huge page up. The kernel joins them
// again in hours. Until then the next save would stop the guest for the time that walking small
// pages takes (10 ms per GiB), and the guest itself runs slower.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "base/result.h"

namespace hozon {

// Joins the pages of the process `qemu` that hold its guest's memory of `ram_bytes`, wherever most
// of a huge page is in use; what the guest never touched takes no memory afterwards either. Takes
// some 200 ms per GiB, during which the guest runs. Returns how many bytes that were.
// kPermissionDenied: this needs CAP_SYS_NICE. kUnimplemented: the kernel is older than 6.1.
// kNotFound: the guest has no private memory of that size.
Result<uint64_t> join_huge_pages(pid_t qemu, uint64_t ram_bytes);

}  // namespace hozon
