// src/qemu/accelerator.h
// Decides whether KVM really runs guests on this host, or TCG has to.
//
// That /dev/kvm opens proves little: there are hosts (nested, container-like ones) where firmware
// runs under KVM and an ordinary kernel never gets going. So a small guest of our own, which does
// what an operating system's first steps do, runs under QEMU with KVM (probe_guest.h). It has to
// report success within kProbeMs; anything else means TCG. The answer is kept per boot of the host.
//
// Any thread, any process; two that probe at once reach the same answer. Blocks for two seconds at
// most.
#pragma once

#include <string>

#include "base/result.h"

namespace hozon {

enum class Accelerator { kKvm, kTcg };

constexpr int kProbeMs = 1500;

std::string accelerator_name(Accelerator accelerator);  // "kvm", "tcg": QEMU's own words

struct AcceleratorChoice {
  Accelerator accelerator = Accelerator::kTcg;
  // Named and portable: the same wherever a snapshot may be brought back. Never "host" or "max".
  std::string cpu_model;
  std::string reason;       // one sentence, for people
  bool from_cache = false;  // decided earlier in this boot of the host
};

struct AcceleratorRequest {
  std::string qemu_binary = "qemu-system-x86_64";
  std::string cache_directory;  // holds accelerator.json; empty: probe every time
  std::string
      wanted;  // "kvm", "tcg", or "auto" and "" (then the environment's HOZON_ACCEL decides)
};

// kInvalidArgument: `wanted` or HOZON_ACCEL is another word. A failed probe is no error: it means
// TCG.
Result<AcceleratorChoice> choose_accelerator(const AcceleratorRequest& request);

}  // namespace hozon
