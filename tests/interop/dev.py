"""`rekey dev` on free ports and a directory of its own, for as long as a check needs it."""

import os
import shlex
import subprocess
import tempfile


class Dev:
    """`env` holds what demo.env does, `printed` what a person sees, `code` in the end how it ended."""

    def __init__(self, binary, *flags):
        self.binary, self.flags = binary, flags
        self.env, self.printed = {}, []

    def __enter__(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.directory = os.path.join(self.temporary.name, "data")
        listen = ["--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--log-level", "warn"]
        command = [self.binary, "dev", "--data-dir", self.directory, *listen, *self.flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line.startswith("Rekey is ready"):
            raise SystemExit(f"rekey dev did not start: {line!r}")
        self.printed.append(line)
        while not line.startswith("Control-C"):
            line = self.process.stdout.readline()
            self.printed.append(line)
        with open(os.path.join(self.directory, "demo.env"), encoding="utf-8") as file:
            for word in shlex.split(file.read(), comments=True):
                name, _, value = word.partition("=")
                self.env[name] = value
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.stdout.read()
        self.code = self.process.wait(timeout=30)
        self.temporary.cleanup()
