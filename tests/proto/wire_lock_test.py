"""What wire_lock.py calls a break, and what it lets pass."""

import os
import subprocess
import sys
import tempfile
import unittest

import wire_lock

PROTO = """syntax = "proto3";
package quantd.v1;
service Shop { rpc Buy(Order) returns (stream Order); }
enum Colour { COLOUR_UNSPECIFIED = 0; RED = 1; }
message Order {
  enum State { STATE_UNSPECIFIED = 0; PAID = 1; }
  string name = 1;
  optional int32 count = 2;
  repeated Colour colours = 3;
  map<string, Order> parts = 4;
  oneof place { string shop = 5; int64 web = 6; }
  State state = 7;
}
message Empty {}
"""


class WireLock(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.root = scratch.name
        os.makedirs(f"{self.root}/proto/quantd/v1")

    def write(self, *changes):
        text = PROTO
        for old, new in changes:
            self.assertIn(old, text)
            text = text.replace(old, new)
        with open(f"{self.root}/proto/quantd/v1/shop.proto", "w", encoding="utf-8") as file:
            file.write(text)

    def read(self, *changes):
        self.write(*changes)
        return wire_lock.read_protos(f"{self.root}/proto")

    def broken(self, *changes):
        return wire_lock.breaks(self.read(), self.read(*changes))

    def test_says_what_goes_over_the_wire(self):
        self.assertEqual(wire_lock.to_text(self.read()), """\
enum quantd.v1.Colour 0: COLOUR_UNSPECIFIED
enum quantd.v1.Colour 1: RED
enum quantd.v1.Order.State 0: STATE_UNSPECIFIED
enum quantd.v1.Order.State 1: PAID
field quantd.v1.Order 1: name string
field quantd.v1.Order 2: count optional int32
field quantd.v1.Order 3: colours repeated enum quantd.v1.Colour
field quantd.v1.Order 4: parts map<string, message quantd.v1.Order>
field quantd.v1.Order 5: shop oneof place string
field quantd.v1.Order 6: web oneof place int64
field quantd.v1.Order 7: state enum quantd.v1.Order.State
message quantd.v1.Empty
message quantd.v1.Order
rpc quantd.v1.Shop Buy: quantd.v1.Order -> stream quantd.v1.Order
""")

    def test_what_breaks_an_old_client(self):
        for what, old, new in [
                ("removed", "  string name = 1;\n", ""),
                ("removed and reserved", "  string name = 1;\n", "  reserved 1;\n"),
                ("renumbered", "string name = 1", "string name = 8"),
                ("retyped", "string name = 1", "bytes name = 1"),
                ("renamed", "string name = 1", "string title = 1"),
                ("another enum", "repeated Colour", "repeated State"),
                ("no list", "repeated Colour", "Colour"),
                ("no presence", "optional int32", "int32"),
                ("another map", "map<string, Order>", "map<string, string>"),
                ("out of its oneof", " int64 web = 6; }", " }\n int64 web = 6;"),
                ("enum value", " RED = 1;", ""),
                ("nested enum value", " PAID = 1;", " PAYED = 1;"),
                ("rpc", " rpc Buy(Order) returns (stream Order); ", ""),
                ("stream", "(stream Order)", "(Order)"),
                ("message", "message Empty {}\n", "")]:
            self.assertTrue(self.broken((old, new)), what)

    def test_additions_and_words_pass(self):
        self.assertEqual(self.broken(
            ("  State state = 7;\n", "  State state = 7;\n  bool gift = 8;\n"),
            (" RED = 1;", " RED = 1; BLUE = 2;"),
            ("message Empty {}", "// Says nothing.\nmessage Empty {}"),
            ("(stream Order);", "(stream Order); rpc Sell(Order) returns (Empty);"),
            ("message Empty", "message New { string a = 1; }\nmessage Empty")), [])

    def run_script(self, *arguments):
        return subprocess.run([sys.executable, wire_lock.__file__, "--root", self.root, *arguments],
                              capture_output=True, text=True, check=False)

    def test_a_break_is_never_locked(self):
        self.write()
        self.assertEqual(self.run_script().returncode, 1, "without a lock nothing is held")
        self.assertEqual(self.run_script("--update").returncode, 0)
        self.assertEqual(self.run_script().returncode, 0)
        self.write(("string name = 1", "bytes name = 1"))
        for arguments in ([], ["--update"], []):
            done = self.run_script(*arguments)
            self.assertEqual(done.returncode, 1)
            self.assertIn('Order 1: was "name string", is "name bytes"', done.stdout)
        self.write(("  State state = 7;\n", "  State state = 7;\n  bool gift = 8;\n"))
        self.assertIn("0 broken, 1 not locked yet", self.run_script("--update").stdout)
        self.write()
        self.assertEqual(self.run_script().returncode, 1, "what was added is held too")


if __name__ == "__main__":
    unittest.main()
