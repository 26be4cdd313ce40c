"""`./dev --no-install` on a bare machine: it says what is missing and installs nothing."""

import os
import subprocess
import tempfile
import unittest

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))


class BareMachine(unittest.TestCase):
    """PATH begins with tools that say nothing is there and remember that they were asked."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.calls = f"{folder.name}/calls"
        os.mkdir(f"{folder.name}/bin")
        for tool in ("dpkg-query", "apt-get", "sudo", "cargo", "go", "pip"):
            with open(f"{folder.name}/bin/{tool}", "w", encoding="utf-8") as file:
                file.write(f'#!/bin/sh\necho {tool} >>{self.calls}\nexit 1\n')
            os.chmod(f"{folder.name}/bin/{tool}", 0o755)
        self.environment = {**os.environ, "PATH": f"{folder.name}/bin:{os.environ['PATH']}",
                            "XDG_CACHE_HOME": f"{folder.name}/cache"}

    def run_dev(self, *arguments):
        return subprocess.run([f"{ROOT}/dev", *arguments], env=self.environment, text=True,
                              capture_output=True, check=False, stdin=subprocess.DEVNULL)

    def test_refuses_and_lists_everything(self):
        for command in ("demo", "test", "build"):
            result = self.run_dev(command, "--no-install")
            self.assertEqual(result.returncode, 1, result.stderr)
            self.assertIn("missing: libgrpc++-dev (gRPC", result.stderr)
            self.assertIn("apt-get install --no-install-recommends", result.stderr)
            self.assertIn("missing: cargo", result.stderr)
            self.assertEqual("missing: Python packages" in result.stderr, command == "test")
            self.assertIn("nothing was installed", result.stderr)
        with open(self.calls, encoding="utf-8") as file:
            self.assertEqual({line.split()[0] for line in file} - {"dpkg-query", "cargo"}, set())

    def test_help_needs_nothing(self):
        result = self.run_dev("help")
        self.assertEqual(result.returncode, 0)
        self.assertIn("demo", result.stdout)

    def test_unknown_command(self):
        self.assertEqual(self.run_dev("tset").returncode, 1)


if __name__ == "__main__":
    unittest.main()
