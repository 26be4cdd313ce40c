"""The total line counts what ctest and pytest write, and is red when it must be."""

import contextlib
import io
import tempfile
import unittest

import total


def summed(*texts):
    """(exit code, line) for JUnit files with these contents."""
    with contextlib.ExitStack() as stack:
        paths = []
        for text in texts:
            file = stack.enter_context(tempfile.NamedTemporaryFile("w", suffix=".xml"))
            file.write(text)
            file.flush()
            paths.append(file.name)
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            code = total.main(paths)
        return code, output.getvalue().strip()


CTEST = ('<testsuite><testcase name="a" status="run"/>'
         '<testcase name="b" status="notrun"><skipped/></testcase></testsuite>')
PYTEST = '<testsuites><testsuite><testcase name="c"/></testsuite></testsuites>'
FAILED = '<testsuite><testcase name="d"><failure message="no"/></testcase></testsuite>'


class Total(unittest.TestCase):
    def test_adds_up(self):
        self.assertEqual(summed(CTEST, PYTEST), (0, "2 passed, 0 failed, 1 skipped"))

    def test_a_failure_is_red(self):
        self.assertEqual(summed(CTEST, FAILED), (1, "1 passed, 1 failed, 1 skipped"))

    def test_nothing_run_is_red(self):
        self.assertEqual(summed(), (1, "0 passed, 0 failed, 0 skipped"))


if __name__ == "__main__":
    unittest.main()
