// Japanese of what sentences, tables and details take in (messages.h).
#include "cli/messages.h"

namespace hozon::cli {

const Catalog& japanese_values() {
  static const Catalog kCatalog = {
      // plans and the progress of jobs
      {"Stores", "保存する量"},
      {"Writes files of", "書き出すファイル"},
      {"Gives back", "空く量"},
      {"Gives back later", "後で空く量"},
      {"stands still for about {}, and goes on", "およそ {0} 止まり、続きから動きます"},
      {"is ended, and the other state runs", "終了し、もう一つの状態が動きます"},
      {"is ended", "終了します"},
      {"notices nothing", "何も気づきません"},
      {"Nothing was changed.", "何も変えていません。"},
      {"while the guest runs", "ゲストを動かしたまま作れます"},
      {"{} of {}", "{0} / {1}"},
      {"{} left", "残り {0}"},
  };
  return kCatalog;
}

}  // namespace hozon::cli
