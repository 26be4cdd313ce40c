"""tidy.py with a clang-tidy that counts its calls and a ninja that says what was read."""

import json
import os
import subprocess
import sys
import tempfile
import unittest

TIDY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tidy.py")


class Tidy(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = os.path.realpath(folder.name)
        self.write("a.cc", "int a;")
        self.write("not_built.cc", "int b;")
        self.write("a.h", "one")
        self.write(".clang-tidy", "Checks: x")
        self.compiled_with("c++ -c a.cc")
        self.write("build/deps", "a.o: #deps 2, deps mtime 1 (VALID)\n    ../a.cc\n    ../a.h\n")
        self.write("bin/ninja", '#!/bin/sh\ncat "$2/deps"\n')
        self.write("bin/tidy", '#!/bin/sh\n[ "$1" = --version ] && exec echo 19\n'
                               f'echo "$4" >>{self.root}/calls\n'
                               'if grep -q bug "$4"; then echo found; exit 1; fi\n')

    def write(self, name, text):
        path = os.path.join(self.root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o755)

    def compiled_with(self, command):
        row = {"directory": f"{self.root}/build", "file": f"{self.root}/a.cc", "output": "a.o",
               "command": command}
        self.write("build/compile_commands.json", json.dumps([row]))

    def tidied(self):
        """Exit code, and how many files clang-tidy was called for."""
        self.write("calls", "")
        run = subprocess.run(
            [sys.executable, TIDY, "--build", "build", "--passed", "passed.txt", "--record",
             "--clang-tidy", f"{self.root}/bin/tidy", "a.cc", "not_built.cc"],
            cwd=self.root, text=True, capture_output=True, check=False,
            env={**os.environ, "PATH": f"{self.root}/bin:{os.environ['PATH']}"})
        self.assertIn("clang-tidy: 1 files", run.stdout, run.stderr)
        with open(f"{self.root}/calls", encoding="utf-8") as file:
            return run.returncode, len(file.readlines())

    def test_a_file_that_passed_is_not_checked_again(self):
        self.assertEqual(self.tidied(), (0, 1))
        self.assertEqual(self.tidied(), (0, 0))

    def test_what_it_rests_on_makes_it_checked_again(self):
        self.tidied()
        for change in (lambda: self.write("a.cc", "int c;"), lambda: self.write("a.h", "two"),
                       lambda: self.write(".clang-tidy", "Checks: y"),
                       lambda: self.compiled_with("c++ -DX -c a.cc")):
            change()
            self.assertEqual(self.tidied(), (0, 1))
            self.assertEqual(self.tidied(), (0, 0))

    def test_a_generated_file_stands_for_what_it_is_made_from(self):
        self.write("build/deps", "a.o: #deps 2, deps mtime 1 (VALID)\n    ../a.cc\n    x.pb.h\n")
        self.write("build/x.pb.h", "one")
        self.write("proto/x.proto", "one")
        self.assertEqual(self.tidied(), (0, 1))
        self.write("build/x.pb.h", "as another compiler writes it")
        self.assertEqual(self.tidied(), (0, 0))
        self.write("proto/x.proto", "two")
        self.assertEqual(self.tidied(), (0, 1))

    def test_what_is_gone_is_not_listed(self):
        self.tidied()
        self.write("passed.txt", "gone.cc 0123\n")
        self.tidied()
        with open(f"{self.root}/passed.txt", encoding="utf-8") as file:
            self.assertNotIn("gone.cc", file.read())

    def test_findings_fail_each_time(self):
        self.write("a.cc", "bug")
        self.assertEqual(self.tidied(), (1, 1))
        self.assertEqual(self.tidied(), (1, 1))

    def test_a_file_of_which_ninja_knows_nothing_never_counts_as_passed(self):
        self.write("build/deps", "a.o: #deps 1, deps mtime 1 (STALE)\n    ../a.cc\n")
        self.assertEqual(self.tidied(), (0, 1))
        self.assertEqual(self.tidied(), (0, 1))


if __name__ == "__main__":
    unittest.main()
