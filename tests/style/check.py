"""Checks the tree against rules.py. Prints one line per violation; exit 1 if there are any.

    python3 tests/style/check.py [ROOT]
"""

import fnmatch
import os
import re
import subprocess
import sys

import cpp
import rules

CPP = (".h", ".cc")
CODE = CPP + (".py", ".proto", ".rs")


def list_files(root):
    """Paths relative to root: what git tracks or would track; every file where there is no git."""
    if os.path.exists(os.path.join(root, ".git")):
        command = ["git", "-C", root, "ls-files", "-co", "--exclude-standard", "-z"]
        listed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
        return sorted({f for f in listed.split("\0") if f and os.path.isfile(f"{root}/{f}")})
    found = []
    for folder, _, names in os.walk(root):
        found += [os.path.relpath(os.path.join(folder, name), root) for name in names]
    return sorted(found)


def zone_of(path):
    """The name of the zone, or None for files that no rule speaks of (tests, docs)."""
    for name, patterns, _ in rules.ZONES:
        if any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns):
            return name
    return None


ALLOWED = {name: set(allowed) | {name} for name, _, allowed in rules.ZONES}


class Tree:
    """The files of one tree and what is wrong with them."""

    def __init__(self, root):
        self.root = root
        self.files = list_files(root)
        self.violations = []
        self.texts = {}

    def text(self, path):
        if path not in self.texts:
            with open(f"{self.root}/{path}", encoding="utf-8", errors="replace") as file:
                self.texts[path] = file.read()
        return self.texts[path]

    def wrong(self, path, line, what):
        self.violations.append(f"{path}:{line}: {what}")

    def sources(self, suffixes):
        return [f for f in self.files if f.endswith(suffixes)]


def check_includes(tree):
    """Includes point the way that ARCHITECTURE.md draws."""
    for path in tree.sources(CPP):
        zone = zone_of(path)
        if zone is None:
            continue
        for line, header in cpp.includes(tree.text(path)):
            target = zone_of(header)
            if target is not None and target not in ALLOWED[zone]:
                tree.wrong(path, line, f"{zone} may not include {header} ({target})")
            for patterns, zones in rules.HEADERS:
                matches = any(fnmatch.fnmatchcase(header, pattern) for pattern in patterns)
                if matches and zone not in zones:
                    tree.wrong(path, line, f"{header} may be included only in {', '.join(zones)}")


def check_loose_files(tree):
    for path in tree.sources(CPP):
        folder = os.path.dirname(path)
        if folder in rules.NO_LOOSE_FILES:
            tree.wrong(path, 1, f"no loose file in {folder}/: a folder below says what it is")


SQL = re.compile(r"^\s*(SELECT\s.+\sFROM\s|INSERT\s+(OR\s+\w+\s+)?INTO\s|"
                 r"UPDATE\s+\w+\s+SET\s|DELETE\s+FROM\s|CREATE\s+(TABLE|INDEX|UNIQUE)|"
                 r"PRAGMA\s)", re.DOTALL)


def check_sql(tree):
    for path in tree.sources(CPP):
        if zone_of(path) in [None] + rules.SQL_ZONES:
            continue
        for line, literal in cpp.string_literals(tree.text(path)):
            if SQL.match(literal):
                tree.wrong(path, line, f"SQL belongs in {', '.join(rules.SQL_ZONES)}")


def check_exceptions(tree):
    for path in tree.sources(CPP):
        if zone_of(path) is None:
            continue
        for number, line in enumerate(cpp.strip(tree.text(path)).split("\n"), 1):
            if re.search(r"\bthrow\b", line):
                tree.wrong(path, number, "no exception is thrown here: return a Status")


def check_sizes(tree):
    for path in tree.sources(CODE):
        lines = tree.text(path).split("\n")
        if len(lines) - 1 > rules.FILE_LINES:
            what = f"{len(lines) - 1} lines, at most {rules.FILE_LINES}: split by noun"
            tree.wrong(path, 1, what)
        raw = set(cpp.raw_lines(tree.text(path))) if path.endswith(CPP) else set()
        for number, line in enumerate(lines, 1):
            if len(line) > rules.COLUMNS and number not in raw:
                tree.wrong(path, number, f"{len(line)} columns, at most {rules.COLUMNS}")
    for path in tree.sources(CPP):
        for line, length, name in cpp.functions(tree.text(path)):
            if length > rules.FUNCTION_LINES:
                tree.wrong(path, line, f"{name}: {length} lines, at most {rules.FUNCTION_LINES}")


def check_names(tree):
    for path in tree.files:
        for part in path.split("/"):
            banned = set(re.split(r"[_\-.]", part.lower())) & rules.BANNED_WORDS
            if banned:
                tree.wrong(path, 1, f"a file is one noun, not a '{banned.pop()}'")


# Written in pieces so that this file does not hold what it looks for.
MACHINE = re.compile("|".join(["(?<![\\w.])/wo" "rk/", "(?<![\\w.])/ro" "ot/", "/ho" "me/[a-z]",
                               "/fa" "rm/"]))
HOSTS = re.compile("|".join(["py" r"pi\.org", "python" r"hosted\.org", "crates" r"\.io",
                             "proxy" r"\.golang\.org", "registry" r"\.npmjs", r"repo1?\." "maven",
                             "deb" r"\.debian\.org"]))


def check_places(tree):
    """Nothing names one machine's folders or a package registry's host; lock files must."""
    for path in tree.files:
        if path.endswith((".safetensors", ".lock", ".txt", ".json", ".bin", ".png")):
            continue
        for number, line in enumerate(tree.text(path).split("\n"), 1):
            for pattern, what in ((MACHINE, "a machine's path"), (HOSTS, "a registry's host")):
                found = pattern.search(line)
                if found:
                    tree.wrong(path, number, f"{what}: {found.group()}")


def check_readmes(tree):
    for folder in sorted({os.path.dirname(f) for f in tree.sources(CPP + (".py",))}):
        above = any(folder == f or folder.startswith(f + "/") for f in rules.README_FROM_ABOVE)
        if folder and not above and f"{folder}/README.md" not in tree.files:
            tree.wrong(folder, 1, "README.md is missing: what this is, how to read it, what it "
                                  "may include")


def cmake_of(tree, path):
    """(folder, text) of the CMakeLists.txt that answers for a file: the nearest one above it."""
    folder = os.path.dirname(path)
    while True:
        candidate = f"{folder}/CMakeLists.txt" if folder else "CMakeLists.txt"
        if candidate in tree.files:
            return folder, tree.text(candidate)
        if not folder:
            return "", ""
        folder = os.path.dirname(folder)


def check_targets(tree):
    """Every .cc file is compiled: by a glob of its folder or by name."""
    for path in tree.sources((".cc",)):
        folder, text = cmake_of(tree, path)
        text += "".join(tree.text(f) for f in tree.files if f.startswith("cmake/"))
        name = os.path.relpath(path, folder or ".")
        globbed = os.path.dirname(path) == folder and (
            "quantd_test(" in text if name.endswith("_test.cc") else "quantd_library(" in text)
        pattern = os.path.dirname(name) + "/*.cc"
        stem = os.path.splitext(name)[0]
        if not globbed and not re.search(rf"\b{re.escape(stem)}\b", text) and pattern not in text:
            tree.wrong(path, 1, f"no target of {folder or '.'}/CMakeLists.txt compiles this file")


def project_libraries(tree):
    """{library: (CMakeLists.txt, zone, [what it links])} for our own libraries."""
    found = {}
    for path in tree.sources(("CMakeLists.txt",)):
        if path.startswith("tests/"):
            continue
        text = re.sub(r"#[^\n]*", "", tree.text(path))
        for name, body in re.findall(r"quantd_library\(\s*(\w+)([^)]*)\)", text):
            deps = re.sub(r"\bEXCLUDE\b.*?(?=\bDEPS\b|$)", "", body, flags=re.DOTALL).split()
            found[name] = [path, name, [d for d in deps if d != "DEPS"]]
        for name in re.findall(r"add_library\(\s*(\w+)\s+(?:STATIC|INTERFACE|OBJECT)", text):
            found.setdefault(name, [path, name, []])
        for name, body in re.findall(r"target_link_libraries\(\s*(\w+)([^)]*)\)", text):
            if name in found:
                keywords = ("PUBLIC", "PRIVATE", "INTERFACE")
                found[name][2] += [d for d in body.split() if d not in keywords]
    return found


def zone_of_library(name, path):
    """The zone a library stands for: by its name where a folder has several, else by its folder."""
    zone = rules.LIBRARY_ZONES.get(name, name.replace("_", "/", 1))
    if zone in ALLOWED:
        return zone
    return zone_of(os.path.dirname(path) + "/CMakeLists.txt")


def check_links(tree):
    """Links follow the same arrows as includes."""
    libraries = project_libraries(tree)
    for name, (path, _, links) in libraries.items():
        zone = zone_of_library(name, path)
        if zone is None:
            continue
        for link in links:
            if link not in libraries:
                continue
            target = zone_of_library(link, libraries[link][0])
            if target is not None and target not in ALLOWED[zone]:
                tree.wrong(path, 1, f"{name} ({zone}) may not link {link} ({target})")


def check_rpc_table(tree):
    """The README names every rpc; one that is not built is not in the API."""
    readme = tree.text("README.md") if "README.md" in tree.files else ""
    there = set()
    for path in tree.sources((".proto",)):
        for number, line in enumerate(tree.text(path).split("\n"), 1):
            found = re.match(r"\s*rpc\s+(\w+)", line)
            if found and f"`{found.group(1)}`" not in readme:
                tree.wrong(path, number, f"README.md says nothing of rpc {found.group(1)}")
            if found:
                there.add(found.group(1))
    for row in re.findall(r"^\|(.*)\|\s*works\s*\|$", readme, re.MULTILINE):
        for name in sorted(set(re.findall(r"`([A-Z]\w+)`", row)) - there):
            tree.wrong("README.md", 1, f"there is no rpc {name}")
    for path in tree.sources((".cc",)):
        for number, line in enumerate(tree.text(path).split("\n"), 1):
            if path.startswith("server/api/") and "kUnimplemented" in line:
                tree.wrong(path, number, "an rpc that is not built is not in the API")


CHECKS = [check_includes, check_loose_files, check_sql, check_exceptions, check_sizes, check_names,
          check_places, check_readmes, check_targets, check_links, check_rpc_table]


def run(root, checks=None):
    tree = Tree(root)
    for check in checks or CHECKS:
        check(tree)
    return tree.violations


def main(arguments):
    root = arguments[0] if arguments else os.path.join(os.path.dirname(__file__), "..", "..")
    violations = run(os.path.normpath(root))
    for violation in violations:
        print(violation)
    print(f"{len(violations)} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
