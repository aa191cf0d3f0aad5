// src/serve/pool_backend.h
// The exports of a pool: `<volume>`, which can be written, and `<volume>@<point>`, which cannot.
// Threading: the pool's thread.
#pragma once

#include "serve/backend.h"
#include "store/pool.h"

namespace hozon::serve {

class PoolBackend final : public Backend {
 public:
  explicit PoolBackend(store::Pool& pool) : pool_(pool) {}
  std::vector<ExportInfo> list(size_t exports_max) const override;
  Result<std::unique_ptr<Session>> open(std::string_view name) override;

 private:
  store::Pool& pool_;
};

}  // namespace hozon::serve
