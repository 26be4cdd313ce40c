"""Sections of docs/verification.md that commands write themselves."""

import os


def note(path, name, text):
    """Puts `text` between the marks of `name`, at the end if there are none yet."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    page = ""
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            page = file.read()
    if begin not in page:
        page += f"\n{begin}\n{end}\n"
    before, rest = page.split(begin, 1)
    after = rest.split(end, 1)[1]
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{before}{begin}\n{text}\n{end}{after}")
