"""One instance of Hozon in a directory, driven through the command line as its users do."""
import json
import os
import pathlib
import subprocess


class Failed(Exception):
    def __init__(self, words, run):
        super().__init__(f"hozon {' '.join(words)}: exit {run.returncode}: {run.stderr.strip()}")
        self.status, self.text = run.returncode, run.stderr


class Instance:
    def __init__(self, programs, directory):
        self.programs = pathlib.Path(programs).resolve()
        self.directory = pathlib.Path(directory)
        self.is_up = False

    def run(self, *words, timeout=120, **options):
        """The finished process; no judgement."""
        environment = os.environ | {"HOZON_DIR": str(self.directory), "NO_COLOR": "1", "LC_ALL": "C"}
        return subprocess.run([self.programs / "hozon", *words], env=environment, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout,
                              **options)

    def hozon(self, *words, timeout=120):
        """Standard output; Failed unless it exits with 0."""
        run = self.run(*words, timeout=timeout)
        if run.returncode != 0:
            raise Failed(words, run)
        return run.stdout

    def ask(self, *words, timeout=120):
        return json.loads(self.hozon(*words, "-o", "json", timeout=timeout))

    def up(self, *options):
        self.is_up = True
        self.hozon("up", "--dir", str(self.directory), *options)
        return self

    def down(self):
        if self.is_up:
            self.hozon("down")
            self.is_up = False

    def close(self):
        """Whatever the state: no process of this instance is left."""
        if not self.is_up:
            return
        try:
            for machine in self.list("machine"):
                if machine.get("state") != "down":
                    self.run("machine", "kill", machine["name"])
        except (Failed, ValueError, subprocess.TimeoutExpired):
            pass
        self.run("down")

    def list(self, noun, *words):
        """The array that `NOUN list` shows, whatever it is wrapped in."""
        answer = self.ask(noun, "list", *words)
        return answer if isinstance(answer, list) else next(iter(answer.values()))

    def logs(self, lines=15):
        text = ""
        for log in sorted((self.directory / "log").glob("*.log")):
            text += f"--- {log.name}\n"
            text += "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) + "\n"
        return text
