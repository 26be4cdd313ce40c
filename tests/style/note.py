"""The section of a command in a page: its table, with the date, between marks of its own."""

import os


def put(page, name, text):
    """Puts `text` between the marks of `name` in the file, at its end if there are none yet."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before = ""
    if os.path.exists(page):
        with open(page, encoding="utf-8") as file:
            before = file.read()
    if begin not in before:
        before += f"\n{begin}\n{end}\n"
    before, rest = before.split(begin, 1)
    after = rest.split(end, 1)[1]
    with open(page, "w", encoding="utf-8") as file:
        file.write(f"{before}{begin}\n{text}\n{end}{after}")
