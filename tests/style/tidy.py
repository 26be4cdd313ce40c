"""clang-tidy over the files of a build, but for those that passed with the same content before.

    tidy.py --build FOLDER --stamps FOLDER [--jobs N] [--clang-tidy PROGRAM] FILE...

Files that the build does not compile are left out. A file has passed when an empty file named after
its key lies among the stamps. The key digests clang-tidy's version, the list of checks, the compile
command, and every file read to compile it (as ninja remembers), system headers too.
Exit 1 if clang-tidy finds anything.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time

# A precompiled header is GCC's; without it each file is also seen to include what it uses.
PRECOMPILED = re.compile(r" -Winvalid-pch -include (\S+)")
KEEP_SECONDS = 60 * 24 * 3600  # a stamp that was not used for so long goes


def read_before(build):
    """Output -> what was read to make it, for outputs whose record is still true."""
    listed = subprocess.run(["ninja", "-C", build, "-t", "deps"], text=True, check=True,
                            capture_output=True).stdout
    deps, current = {}, None
    for line in listed.splitlines():
        if line.startswith("    "):
            if current is not None:
                current.append(os.path.normpath(os.path.join(build, line.strip())))
        elif ": #deps" in line:
            current = deps.setdefault(line.split(": #deps")[0], []) if "(VALID)" in line else None
    return deps


def output_of(command):
    """The object file of a compile command: CMake before 3.29 names it in the command alone."""
    words = shlex.split(command["command"])
    return command.get("output") or words[words.index("-o") + 1]


def commands_of(build):
    """Path -> row of the compilation database, and the precompiled header of its build."""
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        rows = json.load(file)
    commands = {}
    for row in rows:
        header = PRECOMPILED.search(row["command"])
        row["command"] = PRECOMPILED.sub("", row["command"])
        commands[os.path.join(row["directory"], row["file"])] = (
            row, header and os.path.relpath(header.group(1), build) + ".gch")
    return commands


class Keys:
    """What a file's passing rests on, as one digest."""

    def __init__(self, root, build, version):
        self.root, self.deps, self.contents = root, read_before(build), {}
        with open(os.path.join(root, ".clang-tidy"), "rb") as file:
            self.common = hashlib.sha256(version.encode() + file.read()).digest()

    def content(self, path):
        if path not in self.contents:
            with open(path, "rb") as file:
                self.contents[path] = hashlib.file_digest(file, "sha256").hexdigest()
        return self.contents[path]

    def of(self, path, command, header):
        """None where ninja does not know what the file reads: it is never taken for passed."""
        read = self.deps.get(output_of(command))
        if not read:
            return None
        read = [each for each in read + self.deps.get(header, []) if "cmake_pch" not in each]
        total = hashlib.sha256(self.common)
        total.update(command["command"].replace(self.root, ".").encode())
        for each in sorted({path, *read}):
            name = os.path.relpath(each, self.root) if each.startswith(self.root + "/") else each
            total.update(f"{name} {self.content(each)}\n".encode())
        return total.hexdigest()


def drop_old(stamps):
    for entry in os.scandir(stamps):
        if time.time() - entry.stat().st_mtime > KEEP_SECONDS:
            os.remove(entry.path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--build", required=True, help="folder with compile_commands.json")
    parser.add_argument("--stamps", required=True, help="folder of what has passed")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--clang-tidy", default="clang-tidy")
    parser.add_argument("files", nargs="*")
    arguments = parser.parse_args()
    root, build = os.getcwd(), os.path.abspath(arguments.build)
    os.makedirs(arguments.stamps, exist_ok=True)
    drop_old(arguments.stamps)
    commands = commands_of(build)
    database = tempfile.TemporaryDirectory()
    with open(os.path.join(database.name, "compile_commands.json"), "w", encoding="utf-8") as file:
        json.dump([row for row, _ in commands.values()], file)
    version = subprocess.run([arguments.clang_tidy, "--version"], text=True, check=True,
                             capture_output=True).stdout
    keys = Keys(root, build, version)

    def check(path):
        key = keys.of(path, *commands[path])
        stamp = os.path.join(arguments.stamps, key) if key else None
        if stamp and os.path.exists(stamp):
            os.utime(stamp)
            return "known"
        run = subprocess.run([arguments.clang_tidy, "-p", database.name, "--quiet", path,
                              "--extra-arg=-Wno-unknown-warning-option"], text=True,
                             check=False, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if run.returncode != 0:
            print(run.stdout + run.stderr, end="", flush=True)
            return "bad"
        if stamp:
            open(stamp, "w", encoding="utf-8").close()
        return "clean"

    wanted = [path for path in map(os.path.abspath, arguments.files) if path in commands]
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        results = list(pool.map(check, wanted))
    for path, result in zip(wanted, results):
        if result == "bad":
            print(f"clang-tidy: {os.path.relpath(path, root)}")
    print(f"clang-tidy: {len(wanted)} files, {results.count('bad')} with findings, "
          f"{results.count('known')} known to pass")
    return 1 if "bad" in results or not wanted else 0


if __name__ == "__main__":
    sys.exit(main())
