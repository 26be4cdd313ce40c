"""Writes chat_templates.json beside this file: conversations as transformers renders them.

    python3 tests/golden/make_chat_template_golden.py

Needs exactly the versions below. Templates: chat_templates/, the shapes that the models of these
families ship (their texts as published with Llama 3 and 3.1, Qwen 2.5 and 3, Mistral, Gemma 2,
Phi 3, SmolLM 2, Zephyr, DeepSeek, Command R and Granite 3, shortened where parts repeat), and one
of constructs that they leave out. The day is held still: transformers asks the clock.
"""

import datetime
import glob
import json
import os
import sys

import jinja2
import transformers
from transformers.utils import chat_template_utils

VERSIONS = {"transformers": "5.24.0", "jinja2": "3.1.6"}
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
HERE = os.path.dirname(os.path.abspath(__file__))


class StillClock(datetime.datetime):
    """The day that engine/text tells every template."""

    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26, tzinfo=tz)


def call(name, arguments):
    return {"id": "abcdef123", "type": "function",
            "function": {"name": name, "arguments": arguments}}


CONVERSATIONS = {
    "two turns": [
        {"role": "user", "content": "What is a \"quantizer\"?\n"},
        {"role": "assistant", "content": "  It rounds numbers: 0.1 < 0.2 & so on.  "},
        {"role": "user", "content": "Übergröße, 日本語 and \U0001f999?"},
        {"role": "assistant", "content": "Yes."}],
    "system": [
        {"role": "system", "content": "Be brief. "},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "it's me"}],
    "ends with the user": [
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "Two"},
        {"role": "user", "content": "  Three\t"}],
    "thinks": [
        {"role": "user", "content": "17 + 25?"},
        {"role": "assistant", "content": "<think>\n17 + 25 is 42\n</think>\n\n42"},
        {"role": "user", "content": "And 1?"},
        {"role": "assistant", "content": "<think>\n43\n</think>\n\n43"}],
    "tools": [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "tool_calls": [
            call("weather", {"city": "Zürich", "days": 2, "scale": 1.0, "deep": [1, None, True],
                             "none": {}, "tiny": 1e-7, "huge": 1e17})]},
        {"role": "tool", "content": "17 <degrees>", "tool_call_id": "abcdef123"},
        {"role": "assistant", "content": "It is 17."}],
    "two users": [
        {"role": "user", "content": "One"},
        {"role": "user", "content": "Two"}],
    "weights": [
        {"role": "user", "content": " a  b\nc ", "weights": {"z": [1, 2.5], "a": "'", "e": []}},
        {"role": "assistant", "content": "done THEN"}],
}


def render(template, messages):
    """The text, or null where the template refuses the conversation."""
    try:
        texts, _ = chat_template_utils.render_jinja_template(
            conversations=[messages], chat_template=template, **TOKENS)
        return texts[0]
    except jinja2.exceptions.TemplateError:
        return None


def main():
    got = {"transformers": transformers.__version__, "jinja2": jinja2.__version__}
    if got != VERSIONS:
        sys.exit(f"got {got}, wanted {VERSIONS}")
    chat_template_utils.datetime = StillClock
    templates = {}
    for path in sorted(glob.glob(f"{HERE}/chat_templates/*.jinja")):
        with open(path, encoding="utf-8", newline="") as file:
            template = file.read()
        name = os.path.basename(path).removesuffix(".jinja")
        templates[name] = {title: render(template, messages)
                           for title, messages in CONVERSATIONS.items()}
    result = {"made_with": VERSIONS, "tokens": TOKENS, "conversations": CONVERSATIONS,
              "templates": templates}
    with open(f"{HERE}/chat_templates.json", "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
