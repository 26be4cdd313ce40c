"""Each check finds what it is there to find, and leaves good code alone."""

import os
import tempfile
import unittest

import check
import cpp


def violations(checks, files):
    """What `checks` say about a tree that holds `files` ({path: text})."""
    with tempfile.TemporaryDirectory() as root:
        for path, text in files.items():
            os.makedirs(os.path.dirname(f"{root}/{path}") or root, exist_ok=True)
            with open(f"{root}/{path}", "w", encoding="utf-8") as file:
                file.write(text)
        return check.run(root, checks)


class Includes(unittest.TestCase):
    def assert_refused(self, path, header, brackets='""'):
        text = f"#pragma once\n#include {brackets[0]}{header}{brackets[1]}\n"
        found = violations([check.check_includes], {path: text})
        self.assertEqual(len(found), 1, f"{path} including {header}: {found}")
        self.assertIn(f"{path}:2:", found[0])

    def assert_allowed(self, path, header, brackets='""'):
        text = f"#include {brackets[0]}{header}{brackets[1]}\n"
        self.assertEqual(violations([check.check_includes], {path: text}), [])

    def test_arrows_that_do_not_exist(self):
        for path, header in [
            ("base/files.cc", "engine/types/scheme.h"),
            ("blob/local.cc", "engine/types/scheme.h"),
            ("engine/tensor/shard.cc", "engine/backend/backend.h"),
            ("engine/method/rtn.cc", "engine/format/registry.h"),
            ("engine/format/ct.cc", "engine/method/registry.h"),
            ("engine/backend/cpu/gemm.cc", "engine/model/forward.h"),
            ("engine/types/scheme.h", "engine/plan/plan.h"),
            ("engine/run/quantize.cc", "server/api/job.h"),
            ("server/api/job.cc", "engine/run/quantize.h"),
            ("server/main.cc", "worker/agent/agent.h"),
            ("server/store/sqlite.cc", "server/scheduler/rules.h"),
            ("server/scheduler/rules.cc", "server/api/job.h"),
            ("worker/agent/agent.cc", "server/store/store.h"),
            ("worker/agent/agent.cc", "engine/run/quantize.h"),
            ("client/cli/main.cc", "engine/run/quantize.h"),
            ("client/cli/main.cc", "server/store/store.h"),
        ]:
            self.assert_refused(path, header)

    def test_arrows_that_do(self):
        for path, header in [
            ("engine/run/quantize.cc", "engine/method/registry.h"),
            ("engine/model/forward.cc", "engine/backend/backend.h"),
            ("server/api/job.cc", "engine/plan/plan.h"),
            ("server/main.cc", "server/api/job.h"),
            ("worker/runner/run.cc", "engine/run/quantize.h"),
            ("client/cli/main.cc", "engine/flags/quantize_flags.h"),
            ("tests/server/scheduler/rules_test.cc", "worker/agent/agent.h"),
        ]:
            self.assert_allowed(path, header)

    def test_no_file_lies_loose_in_the_engine(self):
        files = {"engine/plan.cc": "", "engine/plan/plan.cc": "", "base/json.cc": ""}
        found = violations([check.check_loose_files], files)
        self.assertEqual(len(found), 1)
        self.assertIn("engine/plan.cc:1:", found[0])

    def test_foreign_headers_have_their_place(self):
        self.assert_refused("engine/plan/plan.cc", "grpcpp/grpcpp.h", "<>")
        self.assert_refused("server/store/sqlite.cc", "quantd/v1/job.pb.h")
        self.assert_refused("server/api/job.cc", "sqlite3.h", "<>")
        self.assert_refused("worker/runner/run.cc", "quantd/v1/job.grpc.pb.h")
        self.assert_refused("engine/method/rtn.cc", "oneapi/dnnl/dnnl.hpp", "<>")
        self.assert_allowed("server/store/sqlite.cc", "sqlite3.h", "<>")
        self.assert_allowed("server/api/job.cc", "quantd/v1/job.grpc.pb.h")


class Links(unittest.TestCase):
    def test_links_follow_includes(self):
        base = "quantd_library(base DEPS absl::status)\n"
        engine = "quantd_library(engine_plan DEPS base)\n"
        bad = violations([check.check_links], {
            "base/CMakeLists.txt": "quantd_library(base DEPS absl::status engine_plan)\n",
            "engine/plan/CMakeLists.txt": engine})
        self.assertEqual(len(bad), 1)
        self.assertIn("base (base) may not link engine_plan (engine/plan)", bad[0])
        good = {"base/CMakeLists.txt": base, "engine/plan/CMakeLists.txt": engine}
        self.assertEqual(violations([check.check_links], good), [])

    def test_every_source_has_a_target(self):
        files = {"base/CMakeLists.txt": "quantd_library(base)\n", "base/clock.cc": "",
                 "server/CMakeLists.txt": "quantd_program(quantd SOURCES main.cc)\n",
                 "server/main.cc": ""}
        self.assertEqual(violations([check.check_targets], files), [])
        files["server/forgotten.cc"] = ""
        files["base/clock_test.cc"] = ""
        self.assertEqual(len(violations([check.check_targets], files)), 2)


class Text(unittest.TestCase):
    def test_sql_outside_the_store(self):
        text = 'const char* kQuery =\n    "SELECT id FROM jobs WHERE id = ?";\n'
        self.assertEqual(len(violations([check.check_sql], {"server/api/job.cc": text})), 1)
        self.assertEqual(violations([check.check_sql], {"server/store/sqlite.cc": text}), [])
        prose = 'Log("select a method from the table");\n// "SELECT a FROM b"\n'
        self.assertEqual(violations([check.check_sql], {"server/api/job.cc": prose}), [])
        raw = 'auto q = R"sql(\n  INSERT INTO jobs VALUES (1)\n)sql";\n'
        self.assertEqual(len(violations([check.check_sql], {"server/api/job.cc": raw})), 1)

    def test_exceptions(self):
        text = 'void F() {\n  throw 1;\n}\n// throw\nconst char* s = "throw";\n'
        found = violations([check.check_exceptions], {"base/files.cc": text})
        self.assertEqual([v.split(" ")[0] for v in found], ["base/files.cc:2:"])

    def test_long_file_line_and_function(self):
        body = "".join(f"  x += {i};\n" for i in range(69))
        for text, count in [(f"int F(int x) {{\n{body}}}\n", 1),
                            (f"int F(int x) {{\n{body[:-10]}}}\n", 0),
                            ("int x;\n" * 501, 1), ("int x;\n" * 500, 0),
                            ("//" + "x" * 99 + "\n", 1), ("//" + "x" * 98 + "\n", 0),
                            ('auto s = R"(' + "x" * 99 + ')";\n', 0)]:
            found = violations([check.check_sizes], {"base/files.cc": text})
            self.assertEqual(len(found), count, found)

    def test_names(self):
        for path in ["base/util.cc", "engine/common/a.h", "tests/string_helpers.h",
                     "server/job_manager.cc"]:
            self.assertEqual(len(violations([check.check_names], {path: ""})), 1, path)
        self.assertEqual(violations([check.check_names], {"base/utility_rate.cc": ""}), [])

    def test_places(self):
        for text in ["see /wo" "rk/main", "pip install -i https://py" "pi.org/simple"]:
            self.assertEqual(len(violations([check.check_places], {"docs/a.md": text})), 1, text)
        fine = "out/work/x, ./work/y and pip install torch"
        self.assertEqual(violations([check.check_places], {"docs/a.md": fine}), [])

    def test_readme(self):
        found = violations([check.check_readmes], {"base/files.cc": ""})
        self.assertEqual(len(found), 1)
        fine = {"base/files.cc": "", "base/README.md": "files"}
        self.assertEqual(violations([check.check_readmes], fine), [])


    def test_rpc_table(self):
        files = {"proto/quantd/v1/job.proto": "service S {\n  rpc GetJob(A) returns (B);\n}\n",
                 "README.md": "| `GetJob` (`request_id`), `grpc.health.v1.Health` | works |\n"}
        self.assertEqual(violations([check.check_rpc_table], files), [])
        files["README.md"] += "| `DrainWorker` | works |\n"
        self.assertEqual(len(violations([check.check_rpc_table], files)), 1)
        files["README.md"] = "| nothing | works |\n"
        self.assertEqual(len(violations([check.check_rpc_table], files)), 1)
        files["README.md"] = "| `GetJob` | works |\n"
        files["server/api/service.cc"] = "return MakeError(Reason::kUnimplemented, what);\n"
        self.assertEqual(len(violations([check.check_rpc_table], files)), 1)


class Functions(unittest.TestCase):
    def test_finds_functions_wherever_they_are(self):
        text = '''
namespace a {
class B : public C {
 public:
  explicit B(int x) : x_(x) {}
  int Get() const override { return "}"[0]; }
};
const int kTable[] = {1, 2, 3};
template <typename T>
auto Add(T a) -> T {
  if (a) {
    return a;
  }
  const auto f = [&](int x) { return x; };
  return f(1);
}
TEST(Suite, Case) {
}
struct D { int x = 1; };
bool operator==(const D& a, const D& b) { return a.x == b.x; }
}
'''
        found = [(name, length) for _, length, name in cpp.functions(text)]
        self.assertEqual(found, [("B", 1), ("Get", 1), ("Add", 8), ("TEST", 2), ("operator==", 1)])


if __name__ == "__main__":
    unittest.main()
