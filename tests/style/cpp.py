"""Just enough C++ to find includes, string literals and functions. No preprocessor."""

import re

TOKEN = re.compile(
    r'//[^\n]*|/\*.*?\*/|(?:u8|u|U|L)?R"(?P<mark>[^\s()\\]{0,16})\(.*?\)(?P=mark)"'
    r"|\"(?:\\.|[^\"\\\n])*\"|(?<![\w])'(?:\\.|[^'\\\n])+'", re.DOTALL)


def includes(text):
    """(line, header) of every #include."""
    for number, line in enumerate(text.split("\n"), 1):
        found = re.match(r'\s*#\s*include\s*[<"]([^>"]+)[>"]', line)
        if found:
            yield number, found.group(1)


def string_literals(text):
    """(line, contents) of every string literal, raw ones included."""
    for found in TOKEN.finditer(text):
        token = found.group()
        if token.startswith(("//", "/*", "'")):
            continue
        raw = found.group("mark") is not None
        contents = token[token.index("(") + 1 : token.rindex(")")] if raw else token[1:-1]
        yield text.count("\n", 0, found.start()) + 1, contents


def raw_lines(text):
    """Numbers of the lines that a raw string literal touches: its bytes are what they are."""
    for found in TOKEN.finditer(text):
        if found.group("mark") is not None:
            begin = text.count("\n", 0, found.start()) + 1
            yield from range(begin, begin + found.group().count("\n") + 1)


def blank(found):
    return re.sub(r"[^\n]", " ", found.group())


def strip(text):
    """The text with comments and literals blanked and preprocessor lines emptied, lines kept."""
    text = TOKEN.sub(blank, text)
    return re.sub(r"^[ \t]*#(?:\\\n|[^\n])*", blank, text, flags=re.MULTILINE)


SCOPE = re.compile(r"\b(namespace|class|struct|union|extern)\b")
FUNCTION = re.compile(r"\)\s*(const|noexcept|override|final|mutable|&|->\s*[\w:<>,\s*&]+|\s)*$")


def matching_brace(text, start):
    depth = 0
    for position in range(start, len(text)):
        if text[position] == "{":
            depth += 1
        elif text[position] == "}":
            depth -= 1
            if depth == 0:
                return position
    return len(text) - 1


def functions(text):
    """(line, length in lines from the signature to the closing brace, name) of every function."""
    text = strip(text)
    statement = position = 0
    while position < len(text):
        character = text[position]
        if character in ";}":
            statement = position + 1
        elif character == "{":
            head = text[statement:position]
            head = re.sub(r"^(\s*(public|private|protected)\s*:)+", blank, head)
            name = re.sub(r"operator[^\w\s(]+", "operator", head.split("(")[0])
            if FUNCTION.search(head) and "=" not in name:
                end = matching_brace(text, position)
                begin = statement + len(head) - len(head.lstrip())
                line = text.count("\n", 0, begin) + 1
                name = re.search(r"(operator[^\w\s(]+|[~\w:]+)\s*\(", head)
                length = text.count("\n", begin, end) + 1
                yield line, length, name.group(1) if name else "function"
                position = end
                statement = end + 1
            elif SCOPE.search(head):
                statement = position + 1
            else:
                position = matching_brace(text, position)
        position += 1
