"""clang-tidy over the files of a build, but for those that passed with the same content before.

    tidy.py --build FOLDER --passed FILE [--record] [--jobs N] [--clang-tidy PROGRAM] SOURCE...

Files that the build does not compile are left out. A file has passed when its key stands behind its
name in --passed, a file of the repository. The key digests clang-tidy's version, the list of
checks, the compile command and every file of the repository read to compile it, as ninja remembers;
of a generated one, what it is generated from. --record brings --passed up to date.
Exit 1 if clang-tidy finds anything.
"""

import argparse
import concurrent.futures
import glob
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile

# A precompiled header is GCC's; without it each file is also seen to include what it uses.
PRECOMPILED = re.compile(r" -Winvalid-pch -include (\S+)")
VERSION = re.compile(r"version (\S+)")


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
        self.root, self.build, self.deps, self.contents = root, build, read_before(build), {}
        self.sources = glob.glob(f"{root}/proto/**/*.proto", recursive=True)
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
        own = {each for each in (path, *read, *self.deps.get(header, []))
               if each.startswith(self.root + "/")}
        generated = {each for each in own if each.startswith(self.build + "/")}
        own = own - generated | set(self.sources if generated else ())
        total = hashlib.sha256(self.common)
        total.update(command["command"].replace(self.root, ".").encode())
        for each in sorted(own):
            total.update(f"{os.path.relpath(each, self.root)} {self.content(each)}\n".encode())
        return total.hexdigest()[:32]


def read_passed(path):
    """Source -> key."""
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as file:
        return dict(line.split() for line in file if not line.startswith("#"))


def write_passed(path, passed):
    with open(path, "w", encoding="utf-8") as file:
        file.write("# What clang-tidy found nothing in, and the digest of all that this rests on. "
                   "Written by ./dev tidy.\n")
        file.writelines(f"{source} {key}\n" for source, key in sorted(passed.items())
                        if os.path.exists(source))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--build", required=True, help="folder with compile_commands.json")
    parser.add_argument("--passed", required=True, help="what has passed, and on what it rests")
    parser.add_argument("--record", action="store_true", help="bring that up to date")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--clang-tidy", default="clang-tidy")
    parser.add_argument("files", nargs="*")
    arguments = parser.parse_args()
    root, build = os.getcwd(), os.path.abspath(arguments.build)
    passed = read_passed(arguments.passed)
    commands = commands_of(build)
    database = tempfile.TemporaryDirectory()
    with open(os.path.join(database.name, "compile_commands.json"), "w", encoding="utf-8") as file:
        json.dump([row for row, _ in commands.values()], file)
    version = subprocess.run([arguments.clang_tidy, "--version"], text=True, check=True,
                             capture_output=True).stdout
    found = VERSION.search(version)
    keys = Keys(root, build, found.group(1) if found else version)

    def check(path):
        key, name = keys.of(path, *commands[path]), os.path.relpath(path, root)
        if key and passed.get(name) == key:
            return "known"
        passed.pop(name, None)
        run = subprocess.run([arguments.clang_tidy, "-p", database.name, "--quiet", path,
                              "--extra-arg=-Wno-unknown-warning-option"], text=True,
                             check=False, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if run.returncode != 0:
            print(run.stdout + run.stderr, end="", flush=True)
            return "bad"
        if key:
            passed[name] = key
        return "clean"

    wanted = [path for path in map(os.path.abspath, arguments.files) if path in commands]
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        results = list(pool.map(check, wanted))
    if arguments.record:
        write_passed(arguments.passed, passed)
    for path, result in zip(wanted, results):
        if result == "bad":
            print(f"clang-tidy: {os.path.relpath(path, root)}")
    print(f"clang-tidy: {len(wanted)} files, {results.count('bad')} with findings, "
          f"{results.count('known')} known to pass")
    return 1 if "bad" in results or not wanted else 0


if __name__ == "__main__":
    sys.exit(main())
