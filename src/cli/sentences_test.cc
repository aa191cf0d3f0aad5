// Proves S1 to S3: sentences come out whole in Japanese with their values as they were, or stay
// English. Method: every form of the catalog is filled with values that no form has, and read back;
// then sentences as hozond makes them, and values that imitate a form.
#include "cli/sentences.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cctype>
#include <cstdlib>

namespace hozon::cli {
namespace {

// The form's holes filled with "v0x", "v1x", ...; `nested`: with a sentence where one is wanted.
std::string fill(const Form& form, std::vector<std::string>& values) {
  std::string text;
  for (size_t i = 0; i < form.english.size(); ++i) {
    if (form.english[i] != '{') {
      text += form.english[i];
      continue;
    }
    i = form.english.find('}', i);
    const size_t number = values.size();
    const bool is_sentence =
        form.japanese.find(fmt::format("{{{}*}}", number)) != std::string_view::npos;
    values.push_back(is_sentence ? "cancelled" : fmt::format("v{}x", number));
    text += values.back();
  }
  return text;
}

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST(Sentences, EveryFormIsReadBackWithItsValues) {
  size_t forms = 0;
  for (const Forms* some : {&control_forms(), &storage_forms(), &other_forms(), &step_forms()})
    for (const Form& form : *some) {
      std::vector<std::string> values;
      const std::string english = fill(form, values);
      const std::string japanese = in_japanese(english);
      ASSERT_NE(japanese, "") << english;
      for (const std::string& value : values) {
        if (value == "cancelled")
          EXPECT_EQ(count(japanese, value), 0U) << japanese;
        else
          EXPECT_EQ(count(japanese, value), 1U) << japanese;
      }
      ++forms;
    }
  EXPECT_GT(forms, 460U);
}

TEST(Sentences, AreWholeInJapanese) {
  EXPECT_EQ(in_japanese("machine 'web' is up: it runs already"),
            "マシン「web」は up です：すでに動いています");
  EXPECT_EQ(in_japanese("machine 'web' is busy: job 7 (snapshot.create) works on it; `hozon job "
                        "show 7` shows how far it is"),
            "マシン「web」は使用中です：ジョブ 7（snapshot.create）が作業しています。進み具合は "
            "`hozon job show 7` で分かります");
  EXPECT_EQ(
      in_japanese("group 'g' stays as it was: machine 'b' cannot start: pool 'main' is not "
                  "served: connect to '/d/s': Connection refused"),
      "グループ「g」は元のままです：マシン「b」は起動できません：プール「main」は提供されていま"
      "せん：「/d/s」への接続：接続を拒否されました");
  EXPECT_EQ(
      in_japanese("'crate' is not a verb of 'volume'; there are create, list; did you mean "
                  "'create'? (see: hozon volume --help)"),
      "「crate」という動詞は「volume」にありません。あるのは create, list です。「create」のことで"
      "すか（参照：hozon volume --help）");
}

TEST(Sentences, AreNeverHalfTranslated) {
  // The reason is QEMU's own.
  EXPECT_EQ(in_japanese("machine 'web' cannot start: QEMU said: no such luck"), "");
  EXPECT_EQ(in_japanese("machine 'web' is up: something new"), "");
  EXPECT_EQ(in_japanese("this is no sentence of ours"), "");
  EXPECT_EQ(in_japanese(""), "");
  EXPECT_EQ(in_japanese(std::string(100'000, 'x')), "");
}

TEST(Sentences, KeepValuesThatLookLikeText) {
  EXPECT_EQ(in_japanese("snapshot 'a' of machine 'm' is pinned (the audit: keep (2 years)): `hozon "
                        "snapshot unpin m a` lets it go"),
            "マシン「m」のスナップショット「a」は固定されています（the audit: keep (2 years)）："
            "`hozon snapshot unpin m a` で外せます");
  EXPECT_EQ(
      in_japanese("machine 'm' has no snapshot '夜 {0} {}'; `hozon snapshot list m` shows them"),
      "マシン「m」にスナップショット「夜 {0} {}」はありません。一覧は `hozon snapshot list m` "
      "で分かります");
}

TEST(Sentences, ThatCanBeReadInTwoWaysStayEnglish) {
  EXPECT_EQ(in_japanese("snapshot 'a' of machine 'b' of machine 'c' is not pinned"), "");
  EXPECT_EQ(in_japanese("volume 'a' has no point 'b' has no point 'c'"), "");
}

TEST(Sentences, TellWhatAReturnDid) {
  EXPECT_EQ(in_japanese("vda and settings are those of 'before it'"),
            "vda と設定は「before it」のものです");
  EXPECT_EQ(in_japanese("memory loaded; the machine goes on where it was"),
            "メモリを読み込みました。マシンは続きから動いています");
  EXPECT_EQ(in_japanese("memory loaded whole, because no file system can be mounted at '/d/i': "
                        "Permission denied; install the package fuse3 and see that this user may "
                        "open /dev/fuse; the machine is paused there"),
            "メモリをすべて読み込みました（理由：「/d/i」にファイルシステムをマウントできません："
            "許可がありません。パッケージ fuse3 を入れ、この利用者が /dev/fuse "
            "を開けるようにしてください）。マシンはそこで一時停止しています");
  EXPECT_EQ(in_japanese("clock: done, set by the guest agent"),
            "時計：完了（ゲストエージェントが合わせました）");
  EXPECT_EQ(in_japanese("clock: not possible, the guest agent does not answer in time"),
            "時計：できません（ゲストエージェントが時間内に応答しません）");
  EXPECT_EQ(in_japanese("clock: failed, the guest agent refused guest-set-time: no"), "");
}

TEST(Sentences, TellWhatAPlanNames) {
  EXPECT_EQ(in_japanese("volume web-vda"), "ボリューム web-vda");
  EXPECT_EQ(in_japanese("snapshot web@two words (the state that is left)"),
            "スナップショット web@two words（離れる状態）");
  EXPECT_EQ(in_japanese("web: the memory of the guest that runs now"),
            "web：今動いているゲストのメモリ");
  EXPECT_EQ(in_japanese("the guest stands still for the whole save: the device has no state"), "");
}

TEST(Sentences, OfFewWordsAreNoPartOfOthers) {
  EXPECT_EQ(in_japanese("volume broke: No such file or directory"),
            "ボリューム broke：そのようなファイルやディレクトリはありません");
  EXPECT_EQ(in_japanese("volume is broken"), "");
  EXPECT_EQ(in_japanese("volume is broken: No such file or directory"), "");
  EXPECT_EQ(in_japanese("copying the whole of it"), "");
}

TEST(Sentences, CodesHelpWhereTheSentenceIsNotKnown) {
  ::setenv("LC_ALL", "ja_JP.UTF-8", 1);
  const SaidError unknown = say_error("wrong_state", "something new");
  EXPECT_EQ(unknown.sentence, "something new");
  EXPECT_FALSE(unknown.is_translated);
  EXPECT_EQ(unknown.help, "wrong_state：今の状態ではできません");
  EXPECT_EQ(say_error("new_code", "something new").help, "");
  EXPECT_TRUE(say_error("cancelled", "cancelled").is_translated);
  ::setenv("LC_ALL", "C", 1);
  EXPECT_EQ(say_error("cancelled", "cancelled").sentence, "cancelled");
  EXPECT_EQ(say_error("cancelled", "something new").help, "");
  EXPECT_EQ(say_sentence("cancelled"), "cancelled");
  ::unsetenv("LC_ALL");
}

}  // namespace
}  // namespace hozon::cli
