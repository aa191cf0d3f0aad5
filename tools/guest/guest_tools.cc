// Programs of the test guest, one binary by several names (static, no libraries in the guest).
//
//   counter [DIR [MS]]  counts in its own memory every MS (100) milliseconds; writes the count to
//   /run/counter
//                       each time and, once a second, a file DIR/count-<n> (DIR: /data) that is on
//                       the disk when it is counted. The token it draws at its start lives only in
//                       its memory, so "same token, higher count" after a return proves that the
//                       program came back alive.
//   pausemeter          longest gap (microseconds) between two looks at the monotonic clock, into
//                       /run/pausemeter twice a second; "pausemeter reset" begins anew. This shows
//                       the stalls of a running guest; a guest that is stopped does not feel time
//                       pass, so "pausemeter beat" also prints a dot every 5 ms for somebody
//                       outside to time.
//   stamper [PAGES]     stamper.cc: RAM and two disks of one instant
//   gapmeter [disk]     gap_meter.cc: stops and stalls, to be watched from outside
//   fillmemory MIB      touches that much memory and keeps it; /run/filled appears when it is done
//   hozon-agent         agent.cc: a small guest agent
//   powerkeyd           powers the guest off when the ACPI power button is pressed
#include "guest_tools.h"

#include <fcntl.h>
#include <linux/input.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/reboot.h>
#include <time.h>
#include <unistd.h>

long long now_us() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

bool replace_file(const char* path, const char* text, bool durable) {
  char draft[300];
  snprintf(draft, sizeof(draft), "%s.new", path);
  const int file = open(draft, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (file < 0) return false;
  const bool written = write(file, text, strlen(text)) == static_cast<ssize_t>(strlen(text)) &&
                       (!durable || fsync(file) == 0);
  close(file);
  return written && rename(draft, path) == 0;
}

namespace {

int counter(const char* directory, long period_ms) {
  unsigned long long token = 0;
  if (getrandom(&token, sizeof(token), 0) != sizeof(token)) return 1;
  unsigned long long count = 0;
  long long next_file = now_us();
  for (;;) {
    ++count;
    char text[128];
    snprintf(text, sizeof(text), "%llu token %016llx\n", count, token);
    replace_file("/run/counter", text, false);
    if (now_us() >= next_file) {
      next_file = now_us() + 1000000;
      char path[256];
      snprintf(path, sizeof(path), "%s/count-%08llu", directory, count);
      replace_file(path, text, true);
    }
    usleep(static_cast<useconds_t>(period_ms * 1000));
  }
}

volatile sig_atomic_t reset_wanted = 0;

int pausemeter() {
  signal(SIGUSR1, [](int) { reset_wanted = 1; });
  char pid[32];
  snprintf(pid, sizeof(pid), "%d\n", getpid());
  replace_file("/run/pausemeter.pid", pid, false);
  long long longest = 0;
  long long last = now_us();
  long long next_report = last;
  for (;;) {
    usleep(500);
    const long long now = now_us();
    if (now - last > longest) longest = now - last;
    last = now;
    if (reset_wanted != 0) {
      reset_wanted = 0;
      longest = 0;
    }
    if (now < next_report) continue;
    next_report = now + 500000;
    char text[64];
    snprintf(text, sizeof(text), "%lld\n", longest);
    replace_file("/run/pausemeter", text, false);
  }
}

int reset_pausemeter() {
  FILE* file = fopen("/run/pausemeter.pid", "r");
  int pid = 0;
  if (file == nullptr || fscanf(file, "%d", &pid) != 1 || pid <= 1) return 1;
  return kill(pid, SIGUSR1) == 0 ? 0 : 1;
}

int beat() {
  for (;;) {
    if (write(1, ".", 1) != 1) return 1;
    usleep(5000);
  }
}

int powerkeyd() {
  constexpr int kDevices = 16;
  pollfd devices[kDevices];
  int count = 0;
  for (int i = 0; i < kDevices; ++i) {
    char path[64];
    snprintf(path, sizeof(path), "/dev/input/event%d", i);
    const int device = open(path, O_RDONLY | O_NONBLOCK);
    if (device >= 0) devices[count++] = {device, POLLIN, 0};
  }
  if (count == 0) return 1;
  for (;;) {
    poll(devices, static_cast<nfds_t>(count), -1);
    for (int i = 0; i < count; ++i) {
      input_event event;
      while (read(devices[i].fd, &event, sizeof(event)) == sizeof(event)) {
        if (event.type != EV_KEY || event.code != KEY_POWER || event.value != 1) continue;
        kill(-1, SIGTERM);
        usleep(50000);
        sync();
        for (char letter = 'b'; letter <= 'h'; ++letter) {
          char path[] = "/data-vdX";
          path[8] = letter;
          umount2(path, MNT_DETACH);
        }
        umount2("/data", MNT_DETACH);
        sync();
        reboot(RB_POWER_OFF);
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const char* slash = strrchr(argv[0], '/');
  const char* name = slash != nullptr ? slash + 1 : argv[0];
  if (strcmp(name, "powerkeyd") == 0) {
    signal(SIGTERM, SIG_IGN);
    return powerkeyd();
  }
  if (strcmp(name, "pausemeter") == 0) {
    if (argc > 1 && strcmp(argv[1], "reset") == 0) return reset_pausemeter();
    if (argc > 1 && strcmp(argv[1], "beat") == 0) return beat();
    return pausemeter();
  }
  if (strcmp(name, "hozon-agent") == 0) return guest_agent();
  const char* first = argc > 1 ? argv[1] : "";
  if (strcmp(name, "stamper") == 0)
    return stamper(*first != 0 ? strtoul(first, nullptr, 10) : 4096);
  if (strcmp(name, "gapmeter") == 0) return gap_meter(strcmp(first, "disk") == 0);
  if (strcmp(name, "fillmemory") == 0) return fill_memory(strtoul(first, nullptr, 10));
  const long period_ms = argc > 2 ? atol(argv[2]) : 100;
  return counter(argc > 1 ? argv[1] : "/data", period_ms > 0 ? period_ms : 100);
}
