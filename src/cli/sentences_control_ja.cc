// Japanese of what hozond says of machines, snapshots, groups, jobs and access (sentences.h).
#include "cli/sentences.h"

namespace hozon::cli {

const Forms& control_forms() {
  static const Forms kForms = {
      // jobs
      {"{} is busy: job {} ({}) works on it; `hozon job show {}` shows how far it is",
       "{0*}は使用中です：ジョブ {1}（{2}）が作業しています。進み具合は `hozon job show {3}` "
       "で分かります"},
      {"machine '{}' is busy: job {} ({}) works on it; `hozon job watch {}` follows it",
       "マシン「{0}」は使用中です：ジョブ {1}（{2}）が作業しています。`hozon job watch {3}` "
       "で終わりまで追えます"},
      {"{} is busy: job {} ({}) works on it",
       "{0*}は使用中です：ジョブ {1}（{2}）が作業しています"},
      {"machine '{}'", "マシン「{0}」"},
      {"volume '{}'", "ボリューム「{0}」"},
      {"pool '{}'", "プール「{0}」"},
      {"schedule '{}'", "スケジュール「{0}」"},
      {"group '{}' or one of its machines", "グループ「{0}」またはそのマシン"},
      {"one of the machines", "マシンのどれか"},
      {"{} jobs are running, which is the limit",
       "{0} 個のジョブが実行中で、これが上限です。終わるのを待ってください"},
      {"idempotency key '{}' stands for job {}, which another request began: use a new key",
       "冪等キー「{0}」は、別の要求が始めたジョブ {1} のものです。新しいキーを使ってください"},
      {"hozond is ending: try again in a moment",
       "hozond は終了中です。少し待ってからやり直してください"},
      {"hozond is ending; the job is taken up at its next start",
       "hozond は終了中です。ジョブは次の起動時に引き継がれます"},
      {"hozond ended while the job ran; what it had begun was taken back",
       "ジョブの途中で hozond が終了しました。始めたことは取り消されました"},
      {"cancelled", "中止されました"},
      {"job {} is rolling back already", "ジョブ {0} はすでに取り消し中です"},
      {"job {} has ended", "ジョブ {0} はすでに終わっています"},
      {"job {} does not exist", "ジョブ {0} はありません"},
      {"job {} ({} {}) is {}: {}", "ジョブ {0}（{1} {2}）は {3} で終わりました：{4*}"},
      // machines
      {"machine '{}' is gone", "マシン「{0}」はもうありません"},
      {"pool '{}' answered without sizes", "プール「{0}」の応答に大きさがありません"},
      {"machine '{}' does not exist", "マシン「{0}」はありません"},
      {"a machine named '{}' exists", "「{0}」という名前のマシンはすでにあります"},
      {"machine '{}' is {}: {}", "マシン「{0}」は {1} です：{2*}"},
      {"it runs already", "すでに動いています"},
      {"only a machine that is up can be paused", "一時停止できるのは up のマシンだけです"},
      {"`hozon machine start` starts it", "`hozon machine start` で起動できます"},
      {"only a paused machine can be resumed", "続行できるのは一時停止中のマシンだけです"},
      {"there is nothing to shut down", "シャットダウンするものがありません"},
      {"resume it first, or end it with `hozon machine kill`",
       "先に続行するか、`hozon machine kill` で終わらせてください"},
      {"there is nothing to end", "終わらせるものがありません"},
      {"shut it down first, or end it with `hozon machine kill`",
       "先にシャットダウンするか、`hozon machine kill` で終わらせてください"},
      {"machine '{}' is suspended: `hozon machine resume {}` wakes it; to boot it instead, give "
       "its "
       "memory up with `hozon snapshot delete {} {}`",
       "マシン「{0}」は休止中です：`hozon machine resume {1}` "
       "で再開します。かわりに起動し直すには、"
       "`hozon snapshot delete {2} {3}` でメモリを捨ててください"},
      {"machine '{}' is {}, so its memory is there: leave out --instant",
       "マシン「{0}」は {1} で、メモリはそこにあります：--instant を外してください"},
      {"machine '{}' cannot start: {}", "マシン「{0}」は起動できません：{1*}"},
      {"the guest of machine '{}' did not switch itself off within {} s; `hozon machine kill {}` "
       "ends it",
       "マシン「{0}」のゲストは {1} 秒以内に電源を切りませんでした。`hozon machine kill {2}` "
       "で終わらせられます"},
      {"machine '{}' would have no disk that could return to anything",
       "マシン「{0}」には、戻せるディスクがひとつもないことになります"},
      {"a machine has at most {} disks", "マシンのディスクは最大 {0} 台です"},
      {"a machine has at most {} NICs", "マシンの NIC は最大 {0} 個です"},
      {"machine '{}' would have nothing to boot: give --image, --disk or --kernel",
       "マシン「{0}」には起動するものがないことになります：--image、--disk、--kernel "
       "のどれかを指定してください"},
      {"machine '{}' has nothing to start from: give --image, --disk or --kernel",
       "マシン「{0}」には起動するものがありません：--image、--disk、--kernel "
       "のどれかを指定してください"},
      {"--initrd and --append need --kernel", "--initrd と --append には --kernel が必要です"},
      {"a disk of {} is too small for image '{}' of {}",
       "{0} のディスクは、{2} のイメージ「{1}」には小さすぎます"},
      {"a volume named '{}' is in the way of machine '{}': delete or clone it",
       "「{0}」という名前のボリュームがあるため、マシン「{1}"
       "」を作れません：削除または複製してください"},
      {"a volume named '{}' is in the way", "「{0}」という名前のボリュームが邪魔になっています"},
      {"machine '{}': memory {} is outside {} to {}",
       "マシン「{0}」：メモリ {1} は範囲（{2} から {3}）の外です"},
      {"machine '{}' is down: its network is plugged in when it starts",
       "マシン「{0}」は down です：ネットワークは起動時につながります"},
      {"machine '{}' is {}, so it has no memory to keep",
       "マシン「{0}」は {1} なので、残すメモリがありません"},
      {"machine '{}' is {}, so it has no memory to save",
       "マシン「{0}」は {1} なので、保存するメモリがありません"},
      {"machine '{}' is {}, so it has no memory to save: start it, or leave out --memory",
       "マシン「{0}」は {1} なので、保存するメモリがありません：起動するか、--memory "
       "を外してください"},
      {"machine '{}' does not sleep any more", "マシン「{0}」はもう休止していません"},
      {"the machine is down", "マシンは down です"},
      {"machine '{}' has no firmware variables", "マシン「{0}」にはファームウェア変数がありません"},
      {"machine '{}' has no firmware variables: leave out --reset-nvram",
       "マシン「{0}」にはファームウェア変数がありません：--reset-nvram を外してください"},
      {"machine '{}' is frozen already", "マシン「{0}」はすでに凍結されています"},
      {"machine '{}' is not up: there is nothing to freeze",
       "マシン「{0}」は up ではありません：凍結するものがありません"},
      {"the guest of machine '{}' has no agent",
       "マシン「{0}」のゲストにはエージェントがありません"},
      {"the guest has no agent", "ゲストにエージェントがありません"},
      {"the guest does not run", "ゲストは動いていません"},
      {"no freeze is held", "凍結されているものはありません"},
      {"a guest can be frozen for 1 ms to {} s", "ゲストを凍結できるのは 1 ミリ秒から {0} 秒です"},
      {"the file systems of machine '{}' could not be frozen: {}; --quiesce try takes the snapshot "
       "all the same",
       "マシン「{0}」のファイルシステムを凍結できませんでした：{1*}。--quiesce try "
       "なら、それでもスナップショットを作ります"},
      {"quiesce '{}' is not one of require, try, skip",
       "quiesce「{0}」は require、try、skip のどれでもありません"},
      {"QEMU runs and does not answer: {}", "QEMU は動いていますが、応答しません：{0*}"},
      {"QEMU ended while it started", "QEMU は起動の途中で終了しました"},
      {"QEMU (pid {}) does not end", "QEMU（pid {0}）が終わりません"},
      {"QEMU does not answer any more", "QEMU が応答しなくなりました"},
      {"only a return with memory can end suspended: choose running, paused or down",
       "休止状態で終えられるのは、メモリつきで戻すときだけです：running、paused、down "
       "から選んでください"},
      {"a description is UTF-8 text of at most {} bytes",
       "説明は、最大 {0} バイトの UTF-8 テキストです"},
      {"at most {} tags are possible", "タグは最大 {0} 個です"},
      {"'{}' cannot be a {} name: use 1 to {} bytes of text without '@' and '/' that does not "
       "begin "
       "with '-'",
       "「{0}」は {1} の名前にできません：「@」と「/」を含まず「-」で始まらない、1 から {2} "
       "バイトのテキストにしてください"},
      {"'{}' cannot be a {} name: use 1 to {} letters, digits, '.', '_' and '-', beginning with a "
       "letter or digit",
       "「{0}」は {1} の名前にできません：英数字で始まる、1 から {2} "
       "文字の英数字、「.」、「_」、「-」"
       "にしてください"},
      // snapshots
      {"machine '{}' has no snapshot '{}'; `hozon snapshot list {}` shows them",
       "マシン「{0}」にスナップショット「{1}」はありません。一覧は `hozon snapshot list {2}` "
       "で分かります"},
      {"machine '{}' has a snapshot named '{}': choose another name",
       "マシン「{0}」には「{1}」という名前のスナップショットがあります：別の名前にしてください"},
      {"the machine has a snapshot named '{}': choose another name",
       "マシンには「{0}」という名前のスナップショットがあります：別の名前にしてください"},
      {"machine '{}' has {} snapshots ({} made by people, {} by the system) and a quota of {}: "
       "`hozon snapshot delete {} NAME` makes room, `hozon machine quota {} {}` allows more",
       "マシン「{0}」にはスナップショットが {1} 個（手動 {2} 個、自動 {3} 個）あり、上限は {4} "
       "個です："
       "`hozon snapshot delete {5} NAME` で減らすか、`hozon machine quota {6} {7}` "
       "で上限を上げてください"},
      {"an expiry is at most 100 years away", "期限は最長で 100 年後です"},
      {"a pin needs a reason, which is shown to whoever wants to delete the snapshot",
       "固定には理由が必要です（削除しようとした人に表示されます）"},
      {"snapshot '{}' of machine '{}' is not pinned",
       "マシン「{1}」のスナップショット「{0}」は固定されていません"},
      {"snapshot '{}' of machine '{}' is pinned ({}): `hozon snapshot unpin {} {}` lets it go",
       "マシン「{1}」のスナップショット「{0}」は固定されています（{2}）：`hozon snapshot unpin {3} "
       "{4}` "
       "で外せます"},
      {"snapshot '{}' of machine '{}' is in the trash: `hozon snapshot trash restore {} {}` brings "
       "it back",
       "マシン「{1}」のスナップショット「{0}」はごみ箱にあります：`hozon snapshot trash restore "
       "{2} {3}` "
       "で取り戻せます"},
      {"there is no snapshot '{}' in the trash of machine '{}'; `hozon snapshot trash list {}` "
       "shows "
       "what is",
       "マシン「{1}」のごみ箱にスナップショット「{0}」はありません。中身は `hozon snapshot trash "
       "list "
       "{2}` で分かります"},
      {"nothing was returned or deleted on machine '{}' that could be undone",
       "マシン「{0}」には、取り消せる復帰も削除もありません"},
      {"name at least one snapshot of '{}' to delete",
       "削除する「{0}」のスナップショットを一つ以上指定してください"},
      {"machine '{}' has no disks to snapshot",
       "マシン「{0}」には、スナップショットにするディスクがありません"},
      {"machine '{}' has no disks to snapshot; --settings-only keeps its settings",
       "マシン「{0}」には、スナップショットにするディスクがありません。--settings-only "
       "なら設定を残せます"},
      {"a snapshot of the settings only has neither disks nor memory",
       "設定だけのスナップショットには、ディスクもメモリも含められません"},
      {"machine '{}' has no disk '{}'; it has {}",
       "マシン「{0}」にディスク「{1}」はありません。あるのは {2} です"},
      {"a snapshot with memory needs all disks: leave out --disks",
       "メモリつきのスナップショットにはすべてのディスクが必要です：--disks を外してください"},
      {"a snapshot with memory needs no quiesce: disks and memory are of one instant",
       "メモリつきのスナップショットに quiesce は不要です：ディスクとメモリは同じ瞬間のものです"},
      {"snapshot '{}' of machine '{}' is in preview: `hozon snapshot undo {}` ends that, or `hozon "
       "snapshot commit {}`",
       "マシン「{1}」はスナップショット「{0}」を試しています：`hozon snapshot undo {2}` "
       "でやめるか、"
       "`hozon snapshot commit {3}` で確定してください"},
      {"snapshot '{}' of machine '{}' is locked by a job",
       "マシン「{1}」のスナップショット「{0}」は、ジョブがロックしています"},
      {"snapshot '{}' is the state in which machine '{}' sleeps: `hozon machine resume {}` wakes "
       "it",
       "スナップショット「{0}」は、マシン「{1}」が休止している状態です：`hozon machine resume {2}` "
       "で再開します"},
      {"machine '{}' is in preview of '{}': `hozon snapshot undo {}` ends that, or `hozon snapshot "
       "commit {}`",
       "マシン「{0}」は「{1}」を試しています：`hozon snapshot undo {2}` でやめるか、`hozon "
       "snapshot "
       "commit {3}` で確定してください"},
      {"machine '{}' is not in preview: `hozon snapshot preview {} NAME` begins one",
       "マシン「{0}」は何も試していません：`hozon snapshot preview {1} NAME` で始められます"},
      {"machine '{}' is {}, and only one that is down or suspended can be previewed: `hozon "
       "machine "
       "suspend {}` keeps its memory, too",
       "マシン「{0}」は {1} ですが、試せるのは down または休止中のときだけです：`hozon machine "
       "suspend "
       "{2}` ならメモリも残ります"},
      {"snapshot '{}' has no disk '{}'", "スナップショット「{0}」にディスク「{1}」はありません"},
      {"snapshot '{}' has no disk '{}'; it has {}",
       "スナップショット「{0}」にディスク「{1}」はありません。あるのは {2} です"},
      {"snapshot '{}' of machine '{}' has no memory",
       "マシン「{1}」のスナップショット「{0}」にはメモリがありません"},
      {"snapshot '{}' of machine '{}' has no memory: leave out --memory",
       "マシン「{1}」のスナップショット「{0}」にはメモリがありません：--memory を外してください"},
      {"snapshot '{}' has no memory: leave out --memory",
       "スナップショット「{0}」にはメモリがありません：--memory を外してください"},
      {"machine '{}' with these settings has no disk '{}'",
       "この設定では、マシン「{0}」にディスク「{1}」はありません"},
      {"the memory of '{}' knows all disks and the settings of its instant: give --disks all "
       "--settings with --memory, or leave out --memory",
       "「{0}」のメモリは、その瞬間のすべてのディスクと設定に結びついています：--memory には "
       "--disks "
       "all --settings をつけるか、--memory を外してください"},
      {"give the parts or --disk-only, which stands for all of them but memory",
       "部分を指定するか、--disk-only（メモリ以外すべて）を指定するか、どちらかにしてください"},
      {"name at least one part: disks, settings, memory",
       "ディスク、設定、メモリのうち一つ以上を指定してください"},
      {"a guest that goes on knows its firmware's variables: --reset-nvram needs --disk-only",
       "続きから動くゲストはファームウェア変数を知っています：--reset-nvram には --disk-only "
       "が必要です"},
      {"this return loads no memory: leave out --instant",
       "この復帰ではメモリを読み込みません：--instant を外してください"},
      {"a machine that ends suspended is read whole: leave out --instant",
       "休止状態で終えるマシンのメモリは全部読み込みます：--instant を外してください"},
      {"state '{}' is not one of as-captured, running, paused, suspended, down",
       "状態「{0}」は as-captured、running、paused、suspended、down のどれでもありません"},
      {"machine '{}' is {}: wait until it is up, paused or down",
       "マシン「{0}」は {1} です：up、paused、down のどれかになるまで待ってください"},
      {"machine '{}' was returned to '{}' but is down, because it could not be started: {}; its "
       "disks are those of '{}'",
       "マシン「{0}」は「{1}」に戻りましたが、起動できなかったため down "
       "です：{2*}。ディスクは「{3}」"
       "のものです"},
      {"disk '{}' of these settings is gone", "この設定のディスク「{0}」はもうありません"},
      {"a clone that shares blocks is in the pool of the original: --pool needs --full",
       "ブロックを共有する複製は元と同じプールに置かれます：--pool には --full が必要です"},
      {"a memory is shared with the original: leave out --full or --memory",
       "メモリは元と共有されます：--full か --memory のどちらかを外してください"},
      {"an earlier save of machine '{}' has not ended: try again later",
       "マシン「{0}」の前の保存がまだ終わっていません：後でやり直してください"},
      {"the save of machine '{}' makes no progress", "マシン「{0}」の保存が進みません"},
      {"QEMU could not save the memory of machine '{}' ({})",
       "QEMU はマシン「{0}」のメモリを保存できませんでした（{1}）"},
      {"the memory could not be stored", "メモリを保存できませんでした"},
      {"QEMU of machine '{}' ended during the save",
       "保存の途中で、マシン「{0}」の QEMU が終了しました"},
      {"pool '{}' is full: the memory of machine '{}' does not fit; delete snapshots or volumes "
       "first",
       "プール「{0}」がいっぱいで、マシン「{1}"
       "」のメモリが入りません。先にスナップショットかボリュームを"
       "削除してください"},
      {"QEMU did not take in the memory in time",
       "QEMU は時間内にメモリを読み込み終えませんでした"},
      {"QEMU is still saving memory, which cannot be stopped",
       "QEMU はまだメモリを保存中で、止められません"},
      {"QEMU of machine '{}' did not wait for the cut (its save is '{}'), so memory and disks are "
       "not "
       "of one instant",
       "マシン「{0}」の QEMU が区切りを待たなかった（保存の状態は「{1}」）ため、メモリとディスクが"
       "同じ瞬間のものになりません"},
      {"QEMU of machine '{}' does not answer while it waits for the cut; try again: from now on it "
       "is "
       "not asked to prepare ahead",
       "マシン「{0}」の QEMU が、区切りを待つ間に応答しません。やり直してください："
       "今後は前もっての準備を頼みません"},
      {"the memory helper does not give up", "メモリの補助プログラムが終わりません"},
      {"the memory helper of machine '{}' ended without a verdict",
       "マシン「{0}」のメモリの補助プログラムが、結果を残さずに終わりました"},
      {"the memory of '{}' knows the settings and all disks of its own instant, and {}: take all "
       "of "
       "them from '{}', or no memory",
       "「{0}」のメモリは、その瞬間の設定とすべてのディスクに結びついていますが、{1*}："
       "すべてを「{2}」から取るか、メモリなしにしてください"},
      {"the settings would be of '{}'", "設定は「{0}」のものになります"},
      {"the settings would be of the present state", "設定は今の状態のものになります"},
      {"disk {} would be of the present state", "ディスク {0} は今の状態のものになります"},
      {"disk {} would be of '{}'", "ディスク {0} は「{1}」のものになります"},
      {"the saved memory cannot be loaded: {}; `--disk-only` returns without the memory",
       "保存されたメモリを読み込めません：{0*}。`--disk-only` ならメモリなしで戻せます"},
      {"it was saved under {} and this machine runs under {}",
       "{0} で保存されましたが、このマシンは {1} で動いています"},
      {"it was saved by QEMU {}, which is newer than QEMU {} here",
       "QEMU {0} で保存されましたが、ここの QEMU {1} より新しいものです"},
      {"it needs '{}', which this machine does not have",
       "「{0}」が必要ですが、このマシンにはありません"},
      {"this machine has '{}', which the saved one did not",
       "このマシンには「{0}」がありますが、保存時にはありませんでした"},
      // groups and templates
      {"there is no group '{}'; `hozon group list` shows them",
       "グループ「{0}」はありません。一覧は `hozon group list` で分かります"},
      {"a group named '{}' exists", "「{0}」という名前のグループはすでにあります"},
      {"group '{}' stays as it was: {}", "グループ「{0}」は元のままです：{1*}"},
      {"all snapshots of group '{}' are in the trash",
       "グループ「{0}」のスナップショットはすべてごみ箱にあります"},
      {"machines '{}' and '{}' are in different pools, which have no instant in common",
       "マシン「{0}」と「{1}」は別のプールにあり、同じ瞬間を残せません"},
      {"name the machines of the group", "グループのマシンを指定してください"},
      {"a group has at most {} machines", "グループのマシンは最大 {0} 台です"},
      {"there is no template '{}'; `hozon template list` shows them",
       "テンプレート「{0}」はありません。一覧は `hozon template list` で分かります"},
      {"a {} named '{}' exists", "「{1}」という名前の {0} はすでにあります"},
      {"'{}' is a template: `hozon machine create NAME --template {}` makes a machine of it",
       "「{0}」はテンプレートです：`hozon machine create NAME --template {1}` でマシンを作れます"},
      {"disks, kernel and devices of a machine from a template are those of the template",
       "テンプレートから作るマシンのディスク、カーネル、装置は、テンプレートのものです"},
      {"firmware and NICs of a machine from a template are those of the template",
       "テンプレートから作るマシンのファームウェアと NIC は、テンプレートのものです"},
      {"template '{}' is in pool '{}', and so is what is made from it",
       "テンプレート「{0}」はプール「{1}」にあり、そこから作るものも同じプールに置かれます"},
      // access
      {"'{}' is no right; there are read, operate, snapshot, return and admin",
       "「{0}」という権限はありません。あるのは read、operate、snapshot、return、admin です"},
      {"a token expires within {} seconds, or never", "トークンの期限は {0} 秒以内か、無期限です"},
      {"a token named '{}' exists; `hozon token revoke {}` ends it",
       "「{0}」という名前のトークンはすでにあります。`hozon token revoke {1}` で無効にできます"},
      {"{} tokens are the limit", "トークンは {0} 個までです"},
      {"there is no token '{}'", "トークン「{0}」はありません"},
      {"token '{}' is revoked already", "トークン「{0}」はすでに無効です"},
      {"the token is not valid", "トークンが正しくないか、期限切れです"},
      {"user '{}' has no rights of its own", "利用者「{0}」に与えられた権限はありません"},
  };
  return kForms;
}

}  // namespace hozon::cli
