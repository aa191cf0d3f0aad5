// Proves: what the package databases of guests say is read as their owners mean it, and nonsense
// neither breaks anything nor grows without bound.
#include "control/package_lists.h"

#include <gtest/gtest.h>

#include <random>

namespace hozon::control {
namespace {

TEST(OsRelease, TellsItsName) {
  EXPECT_EQ(os_name("NAME=\"Debian GNU/Linux\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"),
            "Debian GNU/Linux 12 (bookworm)");
  EXPECT_EQ(os_name("# PRETTY_NAME=no\nNAME='Alpine Linux'\r\nVERSION_ID=3.20\r\n"),
            "Alpine Linux 3.20");
  EXPECT_EQ(os_name("PRETTY_NAME=\"a \\\"b\\\" $c\""), "a \"b\" $c");
  EXPECT_EQ(os_name(""), "");
  EXPECT_EQ(os_name("PRETTY_NAME=\"two\x1b[2J\""), "two\\x1b[2J");
}

TEST(Dpkg, ListsWhatIsInstalled) {
  const std::string status =
      "Package: zsh\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.9-4\n"
      "Description: shell\n with: a line that goes on\n .\n\n"
      "Package: gone\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n\n"
      "Package: half\nStatus: install ok half-installed\nVersion: 1\n\n"
      "Package: bash\nStatus: hold ok installed\nArchitecture: amd64\nVersion: 5.2";
  const std::vector<Application> expected = {{"bash", "5.2", "amd64"}, {"zsh", "5.9-4", "amd64"}};
  EXPECT_EQ(dpkg_packages(status), expected);
}

TEST(Apk, ListsWhatIsInstalled) {
  const std::string installed =
      "C:Q1abc=\nP:musl\nV:1.2.5-r0\nA:x86_64\nF:lib\nR:ld.so\n\nC:Q1x=\nP:busybox\nV:1.36\nA:x86_"
      "64\n\n";
  const std::vector<Application> expected = {{"busybox", "1.36", "x86_64"},
                                             {"musl", "1.2.5-r0", "x86_64"}};
  EXPECT_EQ(apk_packages(installed), expected);
}

TEST(PackageLists, NonsenseIsBounded) {
  std::mt19937 random(5);
  for (int round = 0; round < 300; ++round) {
    std::string text(random() % 3000, ' ');
    constexpr std::string_view kOften = "P: \n=\"'\\Package: x\nStatus: a installed\n\n";
    for (char& c : text)
      c = random() % 4 == 0 ? static_cast<char>(random()) : kOften[random() % kOften.size()];
    (void)os_name(text);
    EXPECT_LE(dpkg_packages(text).size(), text.size());
    EXPECT_LE(apk_packages(text).size(), text.size());
  }
  std::string many;
  for (size_t i = 0; i < kApplicationsMax + 10; ++i) many += "P:a\n\n";
  EXPECT_EQ(apk_packages(many).size(), kApplicationsMax);
  EXPECT_LE(apk_packages("P:" + std::string(1'000'000, 'a'))[0].name.size(), 200U);
}

}  // namespace
}  // namespace hozon::control
