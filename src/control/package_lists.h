// src/control/package_lists.h
// What text files of a guest say of it: its operating system and the packages that are installed.
// Pure functions over bytes that a guest chose: whatever they are, what comes out is bounded, and
// its texts are in the form of link::name_text().
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hozon::control {

struct Application {
  std::string name, version, architecture;
  bool operator==(const Application&) const = default;
};
inline constexpr size_t kApplicationsMax = 50'000;

// PRETTY_NAME of /etc/os-release, or NAME and VERSION_ID; empty: neither.
std::string os_name(std::string_view os_release);
// Of /var/lib/dpkg/status: those that are installed, by name.
std::vector<Application> dpkg_packages(std::string_view status);
// Of /lib/apk/db/installed.
std::vector<Application> apk_packages(std::string_view installed);

}  // namespace hozon::control
