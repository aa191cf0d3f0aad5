#!/usr/bin/env python3
"""Proves: the command line, the API and a pool work together as scripts rely on: exit codes, one line
on standard error, JSON that parses, `up` and `down` in every order, and a hozond that is killed.

Usage: cli_test.py BIN_DIRECTORY. Needs no guest; tests/vm and `make demo` have one.
"""
import http.client
import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

BIN = os.path.abspath(sys.argv[1])
HOZON = os.path.join(BIN, "hozon")


def hozon(*words, directory=None, stdin="", language="C"):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HOZON_")}
    environment["LC_ALL"] = language
    if directory:
        environment["HOZON_DIR"] = directory
    return subprocess.run([HOZON, *words], input=stdin, capture_output=True, text=True,
                          env=environment, timeout=120)


def supervisor_status(directory):
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(directory + "/run/supervisor.sock")
        peer.sendall(b'{"op":"status"}\n')
        return json.loads(peer.makefile().readline())


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("hozon")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


class Instance(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = tempfile.mkdtemp(prefix="hz-cli-", dir="/tmp")
        cls.directory = cls.root + "/d"
        made = hozon("up", "--dir", cls.directory, "--pool-size", "1G")
        assert made.returncode == 0, made.stderr

    @classmethod
    def tearDownClass(cls):
        gone = hozon("down", "--dir", cls.directory)
        shutil.rmtree(cls.root, ignore_errors=True)
        assert gone.returncode == 0, gone.stderr

    def ok(self, *words):
        done = hozon(*words, directory=self.directory)
        self.assertEqual(done.returncode, 0, f"{words}: {done.stderr}")
        self.assertEqual(done.stderr, "", f"{words} in a pipe is quiet")
        return done.stdout

    def refused(self, code, part, *words):
        done = hozon(*words, directory=self.directory)
        self.assertEqual(done.returncode, code, f"{words}: {done.stdout}{done.stderr}")
        self.assertEqual(done.stdout, "", words)
        self.assertTrue(done.stderr.startswith("hozon: error: "), done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertIn(part, done.stderr)

    def test_up_twice_and_permissions(self):
        self.assertIn("already up", self.ok("up"))
        self.assertEqual(os.stat(self.directory).st_mode & 0o777, 0o700)
        self.assertEqual(os.stat(self.directory + "/run/api.sock").st_mode & 0o777, 0o600)
        self.assertEqual(json.loads(self.ok("up", "-o", "json"))["state"], "already up")

    def test_volumes_from_beginning_to_end(self):
        self.assertIn("ready", self.ok("volume", "create", "a", "--size", "64M"))
        self.assertEqual(self.ok("volume", "create", "b", "--size", "8M", "-o", "name"), "b\n")
        self.ok("volume", "snapshot", "a", "b", "--name", "p")
        uri = self.ok("volume", "uri", "a@p").strip()
        self.assertRegex(uri, r"^nbd\+unix:///a(@|%40)p\?socket=/.*")
        self.assertEqual(json.loads(self.ok("volume", "clone", "a@p", "c", "-o", "json"))["name"], "c")
        returned = json.loads(self.ok("volume", "return", "a@p", "-o", "json"))
        shown = json.loads(self.ok("volume", "show", "a", "-o", "json"))
        self.assertEqual({point["name"] for point in shown["points"]}, {"p", returned["kept"]})
        self.assertEqual(sorted(self.ok("volume", "list", "-o", "name").split()), ["a", "b", "c"])
        self.refused(4, "'a'", "volume", "delete", "a")
        self.refused(4, "'a'", "volume", "create", "a", "--size", "1M")
        self.refused(3, "nope", "volume", "return", "a@nope")
        self.refused(3, "nope", "volume", "uri", "nope")
        self.refused(4, "--shrink", "volume", "resize", "b", "--size", "4M")
        self.ok("volume", "resize", "b", "--size", "16M")
        self.ok("volume", "delete", "a@p")
        self.ok("volume", "delete", "a", "--with-points")
        self.ok("volume", "delete", "b", "--with-points", "--yes")
        self.ok("volume", "delete", "c")
        self.assertTrue(self.ok("pool", "check", "main", "--data").startswith("no errors"))
        self.assertTrue(json.loads(self.ok("pool", "check", "main", "-o", "json"))["clean"])

    def complete(self, *words):
        return self.ok("__complete", "--", *words).split()

    def test_completion_knows_words_options_and_names(self):
        self.ok("volume", "create", "cv", "--size", "1M")
        self.ok("volume", "snapshot", "cv", "--name", "cp")
        self.assertIn("snapshot", self.complete("sn"))
        self.assertEqual(self.complete("volume", "cr"), ["create"])
        self.assertEqual(set(self.complete("snapshot", "trash", "")), {"list", "restore", "empty"})
        self.assertIn("diff", self.complete("snapshot", ""))
        self.assertIn("--with-points", self.complete("volume", "delete", "--w"))
        self.assertEqual(self.complete("volume", "list", "-o", ""), ["table", "json", "yaml", "name"])
        self.assertEqual(self.complete("volume", "delete", "cv"), ["cv", "cv@cp"])
        self.assertEqual(self.complete("volume", "resize", "--size", "2M", "c"), ["cv"])
        self.assertEqual(self.complete("volume", "list", "--pool", "m"), ["main"])
        self.assertEqual(self.complete("volume", "create", "c"), [])
        self.assertEqual(self.complete("nonsense", "c"), [])
        self.ok("volume", "delete", "cv", "--with-points")

    def test_yaml_says_what_json_says(self):
        import yaml
        self.ok("volume", "create", "yv", "--size", "1M")
        for words in (("volume", "show", "yv"), ("volume", "list"), ("pool", "show", "main"),
                      ("job", "list")):
            self.assertEqual(yaml.safe_load(self.ok(*words, "-o", "yaml")),
                             json.loads(self.ok(*words, "-o", "json")), words)
        self.ok("volume", "delete", "yv")

    def test_people_are_answered_in_japanese(self):
        def ask(*words):
            return hozon(*words, directory=self.directory, language="ja_JP.UTF-8").stdout
        self.assertEqual(ask("volume", "create", "jv", "--size", "1M"),
                         "ボリューム jv の用意ができました（1.0 MiB）。\n")
        self.assertTrue(ask("volume", "list").startswith("名前 "), ask("volume", "list"))
        self.assertIn("大きさ:", ask("volume", "show", "jv"))
        self.assertIn("仮想マシン", ask("--help"))
        self.assertEqual(json.loads(ask("volume", "show", "jv", "-o", "json"))["name"], "jv")
        self.ok("volume", "delete", "jv")

    def test_plans_steps_and_notes_are_told_in_japanese_for_people(self):
        def ask(*words):
            done = hozon(*words, directory=self.directory, language="ja_JP.UTF-8")
            self.assertEqual((done.returncode, done.stderr), (0, ""), words)
            return done.stdout
        self.ok("machine", "create", "jm", "--disk", "8M", "--memory", "64M")
        self.ok("snapshot", "create", "jm", "夜 1")
        plan = ask("snapshot", "return", "jm", "夜 1", "--plan")
        for part in ("ゲスト: ", "何も気づきません", "（離れる状態）", "メモリ：読み込みません",
                     "終わったとき、マシンは down です", "何も変えていません。"):
            self.assertIn(part, plan)
        plan = ask("machine", "delete", "jm", "--plan")
        self.assertRegex(plan, "除かれるもの: +マシン jm\n")
        self.assertRegex(plan, "届かなくなるもの: +スナップショット jm@夜 1\n")
        returned = ask("snapshot", "return", "jm", "夜 1")
        self.assertIn("\n  ディスクと設定は「夜 1」のものです\n", returned)
        self.assertIn("\n  マシンは down のままです\n", returned)
        self.assertIn("整合性:", ask("snapshot", "show", "jm", "夜 1"))
        self.assertIn("crash (マシンは down です)", ask("snapshot", "show", "jm", "夜 1"))
        self.ok("machine", "delete", "jm")
        number = json.loads(self.ok("job", "list", "-o", "json"))[0]["id"]
        self.assertRegex(ask("job", "show", str(number)), "段階: +ボリュームを削除しています\n")
        shown = json.loads(ask("job", "show", str(number), "-o", "json"))
        self.assertEqual(shown["step"], "deleting its volumes")

    def test_refusals_are_in_japanese_for_people_and_in_english_for_programs(self):
        def refuse(*words, code, language="ja_JP.UTF-8"):
            run = hozon(*words, directory=self.directory, language=language)
            self.assertEqual(run.returncode, code, run.stderr)
            return run.stderr
        self.assertEqual(refuse("machine", "show", "夜", code=3),
                         "hozon: エラー：マシン「夜」はありません\n")
        self.assertEqual(refuse("snapshot", "create", "nobody", code=3),
                         "hozon: エラー：マシン「nobody」はありません\n")
        self.assertEqual(refuse("pool", "create", "main", "--size", "1G", code=4),
                         "hozon: エラー：「main」という名前のプールはすでにあります\n")
        self.assertEqual(refuse("pool", "create", "main", "--size", "1G", code=4, language="C"),
                         "hozon: error: a pool named 'main' exists\n")
        self.assertIn("のことですか", refuse("volume", "crate", code=2))
        plan = hozon("pool", "create", "main", "--size", "1G", "--plan", directory=self.directory,
                     language="ja_JP.UTF-8")
        self.assertIn("「main」という名前のプールはすでにあります", plan.stdout + plan.stderr)
        seen = json.loads(hozon("job", "list", "-o", "json", directory=self.directory,
                                language="ja_JP.UTF-8").stdout)
        for job in seen:
            if job["error"]:
                self.assertTrue(job["error"]["message"].isascii(), job)

    def ask_on_a_terminal(self, answer, *words):
        """What the command says to somebody who answers on a terminal."""
        parent, child = pty.openpty()
        run = subprocess.Popen([HOZON, "--dir", self.directory, *words], stdin=child, stdout=child,
                               stderr=child, env={**os.environ, "LANG": "ja_JP.UTF-8", "LC_ALL": "ja_JP.UTF-8"})
        os.close(child)
        os.write(parent, answer.encode() + b"\n")
        said = b""
        while True:
            try:
                more = os.read(parent, 4096)
            except OSError:
                break
            if not more:
                break
            said += more
        os.close(parent)
        return run.wait(timeout=30), said.decode().replace("\r\n", "\n")

    def test_questions_are_asked_in_japanese(self):
        self.ok("volume", "create", "qv", "--size", "1M")
        code, said = self.ask_on_a_terminal("n", "volume", "delete", "qv")
        self.assertEqual(code, 1)
        self.assertIn("qv を削除しますか。 [y/N]", said)
        self.assertIn("エラー：確認されなかったため、「qv」は残ります", said)
        self.assertIn("qv", self.ok("volume", "list", "-o", "name"))
        code, said = self.ask_on_a_terminal("はい", "volume", "delete", "qv")
        self.assertEqual(code, 0, said)
        self.assertNotIn("qv", self.ok("volume", "list", "-o", "name"))

    def test_a_job_that_nobody_waits_for(self):
        job = json.loads(self.ok("volume", "create", "nw", "--size", "1M", "--no-wait", "-o", "json"))
        self.assertEqual((job["kind"], job["object"]), ("volume.create", "nw"))
        self.ok("job", "watch", str(job["id"]))
        self.assertIn("nw", self.ok("volume", "list", "-o", "name"))
        number = self.ok("volume", "delete", "nw", "--no-wait", "-o", "name").strip()
        self.ok("job", "watch", number)
        self.assertNotIn("nw", self.ok("volume", "list", "-o", "name"))

    def test_the_manual_has_every_verb_and_option(self):
        pages = self.root + "/man"
        self.ok("__manual", pages)
        text = ""
        for name in sorted(os.listdir(pages)):
            with open(f"{pages}/{name}", encoding="utf-8") as page:
                text += page.read().replace("\\-", "-")
        for noun in ("volume", "snapshot", "machine", "token"):
            self.assertIn(f"hozon-{noun}.1", os.listdir(pages))
            for verb in self.complete(noun, ""):
                if verb != "trash":
                    self.assertIn(f".SS hozon {noun} {verb}\n", text)
                    for option in self.complete(noun, verb, "--"):
                        self.assertIn(option, text)
        if shutil.which("groff"):
            for name in os.listdir(pages):
                done = subprocess.run(["groff", "-man", "-ww", "-Tutf8", "-z", f"{pages}/{name}"],
                                      capture_output=True, text=True)
                self.assertEqual((done.returncode, done.stderr), (0, ""), name)

    def test_import_of_an_image(self):
        image = self.root + "/image.raw"
        with open(image, "wb") as file:
            file.truncate(4 << 20)
            file.write(b"hozon" * 1000)
        self.ok("volume", "create", "imported", "--from", image)
        size = json.loads(self.ok("volume", "show", "imported", "-o", "json"))["size_bytes"]
        self.assertEqual(size, 4 << 20)
        self.ok("volume", "delete", "imported")
        broken = self.root + "/broken.qcow2"
        with open(broken, "wb") as file:
            file.write(b"QFI\xfb" + b"\xff" * 600)
        for path, code in ((broken, (1, 2)), (self.root + "/missing.img", (3,))):
            done = hozon("volume", "create", "x", "--from", path, directory=self.directory)
            self.assertIn(done.returncode, code, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertNotIn("x", self.ok("volume", "list", "-o", "name").split())

    def test_what_is_not_there(self):
        for words in (("machine", "show", "m"), ("machine", "start", "m"), ("machine", "console", "m"),
                      ("machine", "delete", "m"), ("snapshot", "list", "m"), ("snapshot", "tree", "m"),
                      ("snapshot", "create", "m"), ("snapshot", "return", "m", "s"),
                      ("snapshot", "delete", "m", "s"), ("pool", "show", "p"), ("pool", "check", "p"),
                      ("pool", "delete", "p"), ("volume", "show", "v"), ("job", "show", "999999")):
            self.refused(3, "", *words)
        self.refused(2, "needs --size or --from", "volume", "create", "v")
        self.refused(2, "VOLUME@POINT", "volume", "return", "@p")
        self.refused(2, "which point?", "volume", "return", "v")
        self.refused(2, "nothing to start from", "machine", "create", "m")
        self.refused(2, "need --kernel", "machine", "create", "m", "--disk", "1G", "--append", "x")
        self.assertEqual(json.loads(self.ok("machine", "list", "-o", "json")), [])

    def test_marks_trash_and_undo(self):
        self.ok("machine", "create", "web", "--disk", "8M", "--memory", "64M")
        self.ok("snapshot", "create", "web", "a", "--tags", "x,y", "--expires", "3d")
        self.ok("snapshot", "create", "web", "b")
        shown = json.loads(self.ok("snapshot", "show", "web", "a", "-o", "json"))
        self.assertEqual((shown["tags"], shown["expires_ns"] > shown["created_ns"]), (["x", "y"], True))
        self.ok("snapshot", "expire", "web", "a", "never")
        self.ok("snapshot", "tag", "web", "a")
        self.ok("snapshot", "pin", "web", "a", "the auditors need it")
        self.refused(4, "hozon snapshot unpin web a", "snapshot", "delete", "web", "a")
        self.assertEqual(self.ok("snapshot", "delete", "web", "--all"),
                         "Snapshot b of web is deleted.\n")
        self.refused(2, "--all", "snapshot", "delete", "web")
        self.assertEqual(self.ok("snapshot", "trash", "list", "web", "-o", "name"), "b\n")
        self.assertIn("b", self.ok("machine", "undo", "web"))
        self.assertEqual(self.ok("snapshot", "list", "web", "-o", "name"), "a\nb\n")
        self.ok("snapshot", "delete", "web", "b")
        self.assertIn("b of web is back", self.ok("snapshot", "trash", "restore", "web", "b"))
        self.ok("snapshot", "delete", "web", "b")
        self.assertIn("1 snapshots", self.ok("snapshot", "trash", "empty", "web"))
        self.ok("machine", "quota", "web", "1")
        self.refused(1, "quota", "snapshot", "create", "web")
        self.ok("machine", "quota", "web", "off")
        self.refused(2, "12h", "snapshot", "expire", "web", "a", "soon")
        self.ok("snapshot", "unpin", "web", "a")
        self.ok("machine", "delete", "web")

    def test_jobs_can_be_watched_but_not_cancelled_when_they_have_ended(self):
        self.ok("volume", "create", "j", "--size", "8M")
        job = json.loads(self.ok("job", "list", "-o", "json"))
        job = job["items"][0] if isinstance(job, dict) else job[0]
        self.assertTrue(job["owner"])
        self.assertIn("is done", self.ok("job", "watch", str(job["id"])))
        self.refused(4, "has ended", "job", "cancel", str(job["id"]))
        self.ok("volume", "delete", "j")

    def test_many_at_once(self):
        outcomes = []

        def work(number):
            for turn in range(5):
                name = f"t{number}-{turn}"
                for words in (("create", name, "--size", "4M"), ("snapshot", name, "--name", "p"),
                              ("clone", name + "@p", name + "-c"), ("delete", name, "--with-points"),
                              ("delete", name + "-c")):
                    done = hozon("volume", *words, directory=self.directory)
                    outcomes.append((done.returncode, done.stderr))

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([o for o in outcomes if o != (0, "")], [])
        self.assertEqual(len(outcomes), 4 * 5 * 5)

    def test_a_killed_hozond_is_not_noticed(self):
        for turn in range(5):
            children = supervisor_status(self.directory)["children"]
            pid = next(child["pid"] for child in children if child["name"] == "hozond")
            runner = threading.Thread(target=lambda: os.kill(pid, signal.SIGKILL))
            runner.start()
            self.ok("volume", "create", f"k{turn}", "--size", "4M")
            runner.join()
            self.ok("volume", "delete", f"k{turn}")

    def test_http_as_others_speak_it(self):
        connection = UnixConnection(self.directory + "/run/api.sock")

        def ask(method, path, body=None, headers=None):
            text = None if body is None else json.dumps(body)
            given = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, path, text, {**given, **(headers or {})})
            answer = connection.getresponse()
            content = json.loads(answer.read())
            return answer, content

        answer, content = ask("GET", "/v1")
        self.assertEqual((answer.status, content["name"]), (200, "hozon"))
        answer, content = ask("POST", "/v1/volumes", {"name": "h", "size_bytes": 1 << 20},
                              {"Idempotency-Key": "once"})
        self.assertEqual(answer.status, 202)
        self.assertEqual(answer.getheader("Location"), f"/v1/jobs/{content['id']}")
        again, repeated = ask("POST", "/v1/volumes", {"name": "h", "size_bytes": 1 << 20},
                              {"Idempotency-Key": "once"})
        self.assertEqual((again.status, repeated["id"]), (202, content["id"]))
        answer, content = ask("GET", f"/v1/jobs/{content['id']}?wait_ms=5000")
        self.assertEqual(content["state"], "done")
        answer, content = ask("DELETE", "/v1/volumes/h?wait=true")
        self.assertEqual(answer.status, 200)
        for method, path, body, status, word in (
                ("DELETE", "/v1/volumes/h?wait=true", None, 404, "h"),
                ("POST", "/v1/volumes", {"name": "x", "size_bytes": "big"}, 400, "size_bytes"),
                ("POST", "/v1/volumes", {"name": "x", "size_bytes": 4096, "siez": 1}, 400, "siez"),
                ("POST", "/v1/machines", {"name": "x", "disks": [{"image": "rel"}]}, 400, "absolute"),
                ("PUT", "/v1/volumes", None, 405, "GET"), ("GET", "/v1/nothing", None, 404, "nothing"),
                ("GET", "/v1/volumes?color=red", None, 400, "color")):
            answer, content = ask(method, path, body)
            self.assertEqual(answer.status, status, content)
            self.assertEqual(answer.getheader("Content-Type"), "application/problem+json")
            self.assertEqual(content["status"], status)
            self.assertIn(word, content["detail"])
        connection.close()


class WithoutInstance(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="hz-cli-", dir="/tmp")
        self.addCleanup(shutil.rmtree, self.root, ignore_errors=True)

    def test_nothing_is_up(self):
        done = hozon("machine", "list", "--dir", self.root)
        self.assertEqual(done.returncode, 1)
        self.assertIn("hozon up --dir", done.stderr)
        done = hozon("pool", "check", "main", "--dir", self.root)
        self.assertEqual(done.returncode, 1)
        self.assertIn("hozon-check", done.stderr)
        done = hozon("down", "--dir", self.root)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("not up", done.stdout)

    def test_up_where_it_cannot_be(self):
        file = self.root + "/file"
        open(file, "w").close()
        self.assertEqual(hozon("up", "--dir", file).returncode, 4)
        self.assertEqual(hozon("up", "--dir", self.root + "/" + "x" * 100).returncode, 2)

    def test_a_damaged_pool_says_why_and_nothing_stays_up(self):
        directory = self.root + "/d"
        self.assertEqual(hozon("up", "--dir", directory, "--pool-size", "256M").returncode, 0)
        self.assertEqual(hozon("down", "--dir", directory).returncode, 0)
        with open(directory + "/pools/main/data", "r+b") as file:
            file.write(b"\xff" * 65536)
        done = hozon("up", "--dir", directory)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertIn("stored-main", done.stderr)
        self.assertIn("not up", hozon("down", "--dir", directory).stdout)

    def test_two_at_once_make_one_instance(self):
        directory = self.root + "/d"
        both = [subprocess.Popen([HOZON, "up", "--dir", directory, "--pool-size", "256M"],
                                 stdout=subprocess.PIPE, text=True) for _ in range(2)]
        texts = sorted(process.communicate(timeout=60)[0] for process in both)
        self.assertEqual([process.returncode for process in both], [0, 0])
        self.assertIn("already up", texts[0])
        self.assertEqual(hozon("down", "--dir", directory).returncode, 0)
        self.assertEqual(os.listdir(directory + "/pools"), ["main"])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=1)
