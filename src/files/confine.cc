// The order matters: namespaces and the user go first, because they need what the later steps take.
#include "files/confine.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>

namespace hozon::files {
namespace {

constexpr unsigned kNobody = 65534;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kIsSanitized = true;  // needs terabytes of addresses, and looks around in /proc
#else
constexpr bool kIsSanitized = false;
#endif

Status limit(int resource, uint64_t amount) {
  const rlimit bound{amount, amount};
  if (::setrlimit(static_cast<__rlimit_resource>(resource), &bound) != 0)
    return errno_error(errno, "bound resource {}", resource);
  return {};
}

Status bound_resources(const Bounds& bounds) {
  if (!kIsSanitized) HOZON_TRY(limit(RLIMIT_AS, bounds.memory_bytes));
  HOZON_TRY(limit(RLIMIT_CPU, bounds.cpu_seconds));
  HOZON_TRY(limit(RLIMIT_FSIZE, 0));
  HOZON_TRY(limit(RLIMIT_CORE, 0));
  return limit(RLIMIT_NPROC, 0);
}

// Best effort: an ordinary user may be forbidden to have them.
void leave_namespaces() {
  const int with_user = ::geteuid() == 0 ? 0 : CLONE_NEWUSER;
  (void)::unshare(with_user | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNS);
}

Status give_up_root() {
  if (::geteuid() != 0) return {};
  if (::setgroups(0, nullptr) != 0 || ::setresgid(kNobody, kNobody, kNobody) != 0 ||
      ::setresuid(kNobody, kNobody, kNobody) != 0)
    return errno_error(errno, "give up root");
  return ::geteuid() == 0 ? make_error(Code::kInternal, "root is not given up") : Status();
}

// Best effort: a kernel before 5.13 has none.
void close_files() {
  landlock_ruleset_attr all{};
  all.handled_access_fs = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;  // all of the first version
  const int rules = static_cast<int>(::syscall(SYS_landlock_create_ruleset, &all, sizeof(all), 0));
  if (rules < 0) return;
  (void)::syscall(SYS_landlock_restrict_self, rules, 0);
  ::close(rules);
}

struct FilterEnd {
  void operator()(void* filter) const { ::seccomp_release(filter); }
};
using Filter = std::unique_ptr<void, FilterEnd>;

// Reading, writing and waiting with what is open; memory that is not executable; time; the end.
Status add_rules(scmp_filter_ctx filter) {
  constexpr std::array kAllowed = {SCMP_SYS(read),
                                   SCMP_SYS(readv),
                                   SCMP_SYS(write),
                                   SCMP_SYS(writev),
                                   SCMP_SYS(recvfrom),
                                   SCMP_SYS(recvmsg),
                                   SCMP_SYS(sendto),
                                   SCMP_SYS(sendmsg),
                                   SCMP_SYS(shutdown),
                                   SCMP_SYS(poll),
                                   SCMP_SYS(ppoll),
                                   SCMP_SYS(close),
                                   SCMP_SYS(fstat),
                                   SCMP_SYS(lseek),
                                   SCMP_SYS(munmap),
                                   SCMP_SYS(mremap),
                                   SCMP_SYS(brk),
                                   SCMP_SYS(madvise),
                                   SCMP_SYS(futex),
                                   SCMP_SYS(rt_sigreturn),
                                   SCMP_SYS(rt_sigprocmask),
                                   SCMP_SYS(sigaltstack),
                                   SCMP_SYS(clock_gettime),
                                   SCMP_SYS(gettimeofday),
                                   SCMP_SYS(getpid),
                                   SCMP_SYS(gettid),
                                   SCMP_SYS(getrandom),
                                   SCMP_SYS(sched_yield),
                                   SCMP_SYS(restart_syscall),
                                   SCMP_SYS(exit),
                                   SCMP_SYS(exit_group)};
  for (const int call : kAllowed)
    if (const int failed = ::seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0); failed != 0)
      return errno_error(-failed, "allow system call {}", call);
  // How UBSan finds out whether an address may be read.
  for (const int call : {SCMP_SYS(pipe), SCMP_SYS(pipe2)})
    if (const int failed = kIsSanitized ? ::seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0) : 0;
        failed != 0)
      return errno_error(-failed, "allow system call {}", call);
  const scmp_arg_cmp no_code = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
  for (const int call : {SCMP_SYS(mmap), SCMP_SYS(mprotect)})
    if (const int failed = ::seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 1, no_code);
        failed != 0)
      return errno_error(-failed, "allow system call {}", call);
  // A library that looks for a file of its own goes on without it.
  for (const int call : {SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(newfstatat), SCMP_SYS(access),
                         SCMP_SYS(readlink), SCMP_SYS(ioctl), SCMP_SYS(fcntl)})
    if (const int failed = ::seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), call, 0); failed != 0)
      return errno_error(-failed, "refuse system call {}", call);
  return {};
}

Status close_system_calls() {
  const Filter filter(::seccomp_init(kIsSanitized ? SCMP_ACT_ERRNO(EPERM) : SCMP_ACT_KILL_PROCESS));
  if (!filter) return make_error(Code::kResourceExhausted, "no memory for a filter");
  HOZON_TRY(add_rules(filter.get()));
  if (const int failed = ::seccomp_load(filter.get()); failed != 0)
    return errno_error(-failed, "load the filter of system calls");
  return {};
}

}  // namespace

Status confine(const Bounds& bounds, int parent) {
  leave_namespaces();
  HOZON_TRY(give_up_root());
  // A change of the user forgets it, so it is said here; who died before is noticed.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) return make_error(Code::kCancelled, "whoever asked is gone");
  ::prctl(PR_SET_DUMPABLE, 0);
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
    return errno_error(errno, "forbid new privileges");
  HOZON_TRY(bound_resources(bounds));
  close_files();
  return close_system_calls();
}

}  // namespace hozon::files
