// Japanese of the questions that commands ask, and of their remarks (messages.h).
#include "cli/messages.h"

namespace hozon::cli {

const Catalog& japanese_questions() {
  static const Catalog kCatalog = {
      {"Delete template {}? Machines that were made from it stay.",
       "テンプレート {0} を削除しますか。そこから作ったマシンは残ります。"},
      {"Take {} back to {}? Their present states are kept.",
       "{0} を {1} に戻しますか。今の状態はそれぞれ残ります。"},
      {"Delete the snapshots of group {}?", "グループ {0} のスナップショットを削除しますか。"},
      {"Power machine {} off at once?", "マシン {0} の電源をすぐに切りますか。"},
      {"Delete machine {} with its {} disks and {} snapshots?",
       "マシン {0} を、ディスク {1} 台とスナップショット {2} 個ごと削除しますか。"},
      {"Delete pool {} and its files?", "プール {0} とそのファイルを削除しますか。"},
      {"Delete schedule {}? Its snapshots stay.",
       "スケジュール {0} を削除しますか。作ったスナップショットは残ります。"},
      {"Take {} back to {}? Its present state is kept.",
       "{0} を {1} に戻しますか。今の状態は残ります。"},
      {"Keep what machine {} is in preview of?", "マシン {0} で試している状態に確定しますか。"},
      {"Give up what machine {} did in the preview?",
       "試している間にマシン {0} がしたことを捨てますか。"},
      {"Delete all snapshots of {} that are not pinned?",
       "{0} の固定されていないスナップショットをすべて削除しますか。"},
      {"Delete {} of {} and what grew from there?",
       "{1} の {0} と、その後に作られたものを削除しますか。"},
      {"Delete snapshot {} of {}?", "{1} のスナップショット {0} を削除しますか。"},
      {"Delete snapshots {} of {}?", "{1} のスナップショット {0} を削除しますか。"},
      {"Delete what is in the trash of {} for good?", "{0} のごみ箱の中身を完全に削除しますか。"},
      {"{} of {} put side by side, {} left as it was.",
       "{1} のうち {0} を並べ直しました（{2} はそのまま）。"},
      {"Take volume {} back to {}? Its present state is kept.",
       "ボリューム {0} を {1} に戻しますか。今の状態は残ります。"},
      {"Delete {}?", "{0} を削除しますか。"},
      {"not read: {}", "読めませんでした：{0}"},
      {"{} goes to the trash", "{0} はごみ箱に移ります"},
      {"setting {}: {} now, {} then", "設定 {0}：今は {1}、その後は {2}"},
      {"their points stay until `hozon snapshot trash empty {}` reclaims them",
       "時点は、`hozon snapshot trash empty {0}` で空けるまで残ります"},
      {"reclaimable", "空けられる"},
      {"until {}, `hozon machine undo {}` brings back what was deleted",
       "{0} までは、`hozon machine undo {1}` で取り戻せます"},
      {"--listen counts from the next start of the instance on",
       "--listen は、インスタンスの次の起動から有効になります"},
      {"--pool-size is for the first start only; pool main stays as it is",
       "--pool-size は最初の起動のときだけ有効です。プール main はそのままです"},
  };
  return kCatalog;
}

}  // namespace hozon::cli
