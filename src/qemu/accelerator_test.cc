// Proves: the choice is made in time and says why, HOZON_ACCEL and `wanted` override it, a
// remembered choice is used only in the same boot and until it expires, and the probe guest itself
// is sound: under TCG, which runs every guest, it reports success.
#include "qemu/accelerator.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/fd.h"
#include "qemu/command.h"
#include "qemu/files.h"
#include "qemu/probe_guest.h"
#include "qemu/qemu_binary.h"

namespace hozon {
namespace {

class AcceleratorTest : public testing::Test {
 protected:
  AcceleratorTest() {
    ::unsetenv("HOZON_ACCEL");
    std::string pattern = testing::TempDir() + "hozon-accel-XXXXXX";
    directory_ = ::mkdtemp(pattern.data());
  }
  ~AcceleratorTest() override { std::filesystem::remove_all(directory_); }
  std::string directory_;
};

TEST_F(AcceleratorTest, TheProbeGuestPassesUnderTcg) {
  const Fd file(::memfd_create("probe", 0));
  const auto image = probe_guest_firmware();
  ASSERT_EQ(::write(file.get(), image.data(), image.size()), static_cast<ssize_t>(image.size()));
  CommandRequest request;
  request.argv = {"qemu-system-x86_64",
                  "-accel",
                  "tcg",
                  "-cpu",
                  "qemu64",
                  "-machine",
                  "q35",
                  "-m",
                  "64M",
                  "-nodefaults",
                  "-no-user-config",
                  "-display",
                  "none",
                  "-no-reboot",
                  "-debugcon",
                  "file:/dev/stdout",
                  "-device",
                  "isa-debug-exit,iobase=0xf4,iosize=1",
                  "-bios",
                  "/dev/fd/3"};
  request.timeout_ms = 20'000;
  request.fd = file.get();
  const auto outcome = run_command(request);
  ASSERT_TRUE(outcome) << outcome.error().what;
  EXPECT_EQ(outcome->exit_status, kProbeGuestSuccess) << outcome->output;
  size_t steps = 0;
  for (const char c : outcome->output) steps += probe_guest_step(c).empty() ? 0 : 1;
  EXPECT_EQ(steps, 10U);
}

TEST_F(AcceleratorTest, DecidesWithinTwoSecondsAndRemembers) {
  AcceleratorRequest request;
  request.cache_directory = directory_;
  const auto start = std::chrono::steady_clock::now();
  const auto first = choose_accelerator(request);
  const auto took = std::chrono::steady_clock::now() - start;
  ASSERT_TRUE(first) << first.error().what;
  EXPECT_LT(took, std::chrono::milliseconds(2000));
  EXPECT_FALSE(first->reason.empty());
  EXPECT_FALSE(first->from_cache);
  RecordProperty("choice", accelerator_name(first->accelerator) + ": " + first->reason);
  if (::access("/dev/kvm", R_OK | W_OK) != 0) return;  // answered without a probe, nothing to keep
  const auto second = choose_accelerator(request);
  ASSERT_TRUE(second);
  EXPECT_TRUE(second->from_cache);
  EXPECT_EQ(second->accelerator, first->accelerator);
}

TEST_F(AcceleratorTest, ForgetsAfterAnotherBootOrWhenExpired) {
  if (::access("/dev/kvm", R_OK | W_OK) != 0) GTEST_SKIP() << "no /dev/kvm";
  AcceleratorRequest request;
  request.cache_directory = directory_;
  request.qemu_binary =
      "/nonexistent/qemu";  // so that a fresh probe is told from the remembered one
  const auto remember = [&](const std::string& boot_id, int64_t until) {
    std::ofstream(directory_ + "/accelerator.json")
        << fmt::format(R"({{"boot_id":"{}","qemu":"/nonexistent/qemu","accelerator":"kvm",)"
                       R"("reason":"kept","until":{}}})",
                       boot_id, until);
    return choose_accelerator(request);
  };
  EXPECT_EQ(remember(host_boot_id(), 0)->reason, "kept");
  EXPECT_NE(remember("another boot", 0)->reason, "kept");
  EXPECT_NE(remember(host_boot_id(), 1)->reason, "kept");
  std::ofstream(directory_ + "/accelerator.json") << "garbage";
  EXPECT_EQ(choose_accelerator(request)->accelerator, Accelerator::kTcg);
}

TEST_F(AcceleratorTest, TheEnvironmentAndTheCallerOverride) {
  AcceleratorRequest request;
  ::setenv("HOZON_ACCEL", "kvm", 1);
  EXPECT_EQ(choose_accelerator(request)->accelerator, Accelerator::kKvm);
  request.wanted = "tcg";
  EXPECT_EQ(choose_accelerator(request)->accelerator, Accelerator::kTcg);
  request.wanted = "xen";
  EXPECT_EQ(choose_accelerator(request).error().code, Code::kInvalidArgument);
  request.wanted = "auto";
  ::setenv("HOZON_ACCEL", "hvf", 1);
  EXPECT_EQ(choose_accelerator(request).error().code, Code::kInvalidArgument);
  ::unsetenv("HOZON_ACCEL");
}

TEST(QemuBinary, DescribesTheInstalledOne) {
  const auto binary = inspect_qemu();
  ASSERT_TRUE(binary) << binary.error().what;
  EXPECT_TRUE(binary->machine_type.starts_with("pc-q35-")) << binary->machine_type;
  EXPECT_FALSE(binary->version.empty());
  EXPECT_EQ(inspect_qemu("no-such-qemu").error().code, Code::kNotFound);
}

}  // namespace
}  // namespace hozon
