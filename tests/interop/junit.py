"""Verdicts of a check as a JUnit file, which tests/style/total.py adds up."""

import os
from xml.etree import ElementTree


def write(path, suite, verdicts):
    """`verdicts`: {name: passed}, or {name: reason} of what was skipped."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    root = ElementTree.Element("testsuite", name=suite)
    for name, verdict in verdicts.items():
        case = ElementTree.SubElement(root, "testcase", name=name)
        if isinstance(verdict, str):
            ElementTree.SubElement(case, "skipped", message=verdict)
        elif not verdict:
            ElementTree.SubElement(case, "failure", message="see the output")
    ElementTree.ElementTree(root).write(path)
