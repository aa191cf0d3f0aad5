// hozon-agent: the few commands of QEMU's guest agent that Hozon uses, for a guest too small for
// the real one. Speaks on /dev/virtio-ports/org.qemu.guest_agent.0; freezes whatever is mounted at
// /data*. guest-sync, guest-sync-delimited, guest-ping, guest-get-time, guest-set-time (with
// "time"), guest-get-osinfo, guest-get-host-name, guest-network-get-interfaces,
// guest-fsfreeze-status, guest-fsfreeze-freeze, guest-fsfreeze-thaw.
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "guest_tools.h"

namespace {

constexpr const char* kPort = "/dev/virtio-ports/org.qemu.guest_agent.0";
constexpr int kMountsMax = 16;

struct Mounts {
  char path[kMountsMax][64];
  int count = 0;
};

Mounts data_mounts() {
  Mounts found;
  FILE* file = fopen("/proc/mounts", "r");
  char device[128];
  char path[128];
  while (file != nullptr && found.count < kMountsMax &&
         fscanf(file, "%127s %127s %*[^\n]", device, path) == 2)
    if (strncmp(path, "/data", 5) == 0 && strlen(path) < sizeof(found.path[0]))
      strcpy(found.path[found.count++], path);
  if (file != nullptr) fclose(file);
  return found;
}

bool frozen = false;

int for_each_mount(unsigned long request) {
  const Mounts mounts = data_mounts();
  int done = 0;
  for (int i = 0; i < mounts.count; ++i) {
    const int directory = open(mounts.path[i], O_RDONLY);
    if (directory >= 0 && ioctl(directory, request, 0) == 0) ++done;
    if (directory >= 0) close(directory);
  }
  return done;
}

// The number behind "name":, or `fallback`.
long long number_of(const char* line, const char* name, long long fallback) {
  char key[32];
  snprintf(key, sizeof(key), "\"%s\":", name);
  const char* found = strstr(line, key);
  return found != nullptr ? atoll(found + strlen(key)) : fallback;
}

void set_time(long long wall_ns) {
  timespec time{};
  time.tv_sec = wall_ns / 1000000000;
  time.tv_nsec = wall_ns % 1000000000;
  clock_settime(CLOCK_REALTIME, &time);
}

long long wall_ns() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

// Of the first network card, with the address that QEMU's user network would give it.
void interfaces(char* text, size_t room) {
  char mac[32] = "";
  if (FILE* const file = fopen("/sys/class/net/eth0/address", "r")) {
    if (fgets(mac, sizeof(mac), file) != nullptr) mac[strcspn(mac, "\n")] = 0;
    fclose(file);
  }
  snprintf(text, room,
           "{\"return\": [{\"name\": \"eth0\", \"hardware-address\": \"%s\", \"ip-addresses\": "
           "[{\"ip-address\": \"10.0.2.15\", \"prefix\": 24}]}]}\n",
           mac);
}

// The answer to one line, without the sentinel.
void answer(const char* line, char* text, size_t room) {
  const auto number = [&](long long value) { snprintf(text, room, "{\"return\": %lld}\n", value); };
  const auto is = [&](const char* command) { return strstr(line, command) != nullptr; };
  if (is("\"guest-sync"))
    number(number_of(line, "id", 0));
  else if (is("\"guest-fsfreeze-status\""))
    snprintf(text, room, "{\"return\": \"%s\"}\n", frozen ? "frozen" : "thawed");
  else if (is("\"guest-fsfreeze-thaw\"")) {
    number(for_each_mount(FITHAW));
    frozen = false;
  } else if (is("\"guest-ping\""))
    snprintf(text, room, "{\"return\": {}}\n");
  else if (frozen)
    snprintf(text, room,
             "{\"error\": {\"class\": \"GenericError\", \"desc\": \"Command has been disabled: the "
             "agent is in frozen state\"}}\n");
  else if (is("\"guest-fsfreeze-freeze\"")) {
    sync();
    number(for_each_mount(FIFREEZE));
    frozen = true;
  } else if (is("\"guest-get-osinfo\""))
    snprintf(text, room, "{\"return\": {\"id\": \"small\", \"pretty-name\": \"A small guest\"}}\n");
  else if (is("\"guest-get-host-name\""))
    snprintf(text, room, "{\"return\": {\"host-name\": \"little\"}}\n");
  else if (is("\"guest-network-get-interfaces\""))
    interfaces(text, room);
  else if (is("\"guest-get-time\""))
    number(wall_ns());
  else if (is("\"guest-set-time\"") && number_of(line, "time", -1) > 0) {
    set_time(number_of(line, "time", 0));
    snprintf(text, room, "{\"return\": {}}\n");
  } else
    snprintf(text, room,
             "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"The command has not been "
             "found\"}}\n");
}

void write_all(int port, const char* text, size_t length) {
  while (length > 0) {
    const ssize_t put = write(port, text, length);
    if (put <= 0) return;
    text += put;
    length -= static_cast<size_t>(put);
  }
}

}  // namespace

int guest_agent() {
  signal(SIGPIPE, SIG_IGN);
  signal(SIGTERM, SIG_IGN);
  const int port = open(kPort, O_RDWR);
  if (port < 0) return 1;
  char line[4096];
  size_t length = 0;
  for (;;) {
    char letter = 0;
    const ssize_t got = read(port, &letter, 1);
    if (got <= 0) {  // nobody is connected
      length = 0;
      usleep(20000);
      continue;
    }
    if (letter == '\xff') {
      length = 0;
      continue;
    }
    if (letter != '\n') {
      line[length] = letter;
      length = (length + 1) % (sizeof(line) - 1);
      continue;
    }
    line[length] = 0;
    length = 0;
    char text[256];
    answer(line, text + 1, sizeof(text) - 1);
    text[0] = '\xff';
    const bool delimited = strstr(line, "guest-sync-delimited") != nullptr;
    write_all(port, delimited ? text : text + 1, strlen(text + 1) + (delimited ? 1 : 0));
  }
}
