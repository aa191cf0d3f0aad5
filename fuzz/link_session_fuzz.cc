// A hostile control plane: the bytes are a whole session on a pool's link, lines good and bad, over
// a real pool in memory. The session ends by itself when the bytes end; whatever was asked for, the
// pool is sound afterwards, and shows the same when it is opened again.
#include <sys/eventfd.h>

#include "base/fd.h"
#include "base/log.h"
#include "sample_pool.h"
#include "serve/link_operations.h"
#include "serve/link_server.h"

namespace {

using namespace hozon;
using namespace hozon::fuzz;

store::OpenOptions options_for(bool read_only) {
  store::OpenOptions options;
  options.read_only = read_only;
  options.background = false;
  return options;
}

void check_sound(ScriptLoop& loop, store::Pool& pool) {
  const auto report = run(loop, pool.check(true));
  HOZON_CHECK(report.has_value() && report->errors.empty() && report->lost_blocks == 0);
}

std::vector<std::string> names_of(const store::Pool& pool) {
  std::vector<std::string> names;
  for (const store::VolumeInfo& volume : pool.volumes()) {
    names.push_back(volume.name);
    const auto points = pool.points(volume.name);
    for (const store::PointInfo& point : *points) names.push_back(volume.name + "@" + point.name);
  }
  return names;
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  log_start("link_session_fuzz", LogLevel::kError);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  ScriptLoop loop({input, size});
  MemoryDevice data(loop, sample_pool().image.data);
  MemoryDevice journal(loop, sample_pool().image.journal);
  std::vector<std::string> names;
  {
    const auto opened = run(loop, store::Pool::open(loop, data, journal, options_for(false)));
    HOZON_CHECK(opened.has_value());
    store::Pool& pool = **opened;
    {
      serve::LinkServer server(loop, [&pool](link::Request request) {
        return serve::run_operation(pool, std::move(request));
      });
      server.serve(Fd(::eventfd(0, EFD_CLOEXEC)));
      loop.run();
    }
    check_sound(loop, pool);
    names = names_of(pool);
    HOZON_CHECK(run(loop, pool.close()).has_value());
  }
  const auto again = run(loop, store::Pool::open(loop, data, journal, options_for(true)));
  HOZON_CHECK(again.has_value() && names_of(**again) == names);
  check_sound(loop, **again);
  (void)run(loop, (*again)->close());
  return 0;
}
