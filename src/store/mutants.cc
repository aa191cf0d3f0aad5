#include "store/mutants.h"

#ifdef HOZON_MUTANTS
namespace hozon::store {
namespace {
Mutant g_active = Mutant::kNone;
}
Mutant active_mutant() { return g_active; }
void set_active_mutant(Mutant mutant) { g_active = mutant; }
}  // namespace hozon::store
#endif
