"""What people say for fields of the wire: "weighted-mse" for SCALE_RULE_WEIGHTED_MSE."""

from __future__ import annotations

from typing import Any, Dict, List

from google.protobuf.descriptor import FieldDescriptor

from quantd.errors import Violation


def words_of(enum: Any) -> Dict[str, int]:
    """word -> number, of every value that can be asked for.

    >>> from quantd.v1 import recipe_pb2
    >>> list(words_of(recipe_pb2.Granularity))
    ['tensor', 'channel', 'group']
    """
    descriptor = enum.DESCRIPTOR
    prefix = "".join("_" + c if c.isupper() else c.upper() for c in descriptor.name).lstrip("_")
    names = {}
    for value in descriptor.values:
        name = value.name
        if name.startswith(prefix + "_"):
            name = name[len(prefix) + 1 :]
        if value.number:
            names[name.lower().replace("_", "-")] = value.number
    return names


def word_of(enum: Any, number: int) -> str:
    """The word for a value; a number that this client does not know is its own word."""
    for word, known in words_of(enum).items():
        if known == number:
            return word
    return "" if number == 0 else str(number)


def enum_number(enum: Any, word: str, where: str, wrong: List[Violation]) -> int:
    """The value that a word stands for; a violation in `wrong` and 0 if there is none."""
    words = words_of(enum)
    number = words.get(word.replace("_", "-"), 0)
    if not number:
        wrong.append(Violation(where, str(word), f"one of {', '.join(words)}"))
    return number


def set_field(message: Any, name: str, value: Any, where: str, wrong: List[Violation]) -> None:
    """Sets a field; a violation in `wrong` if it does not take such a value.

    A whole number may come as a float: what has been JSON in a pipeline often does.
    """
    if isinstance(value, float) and value.is_integer():
        kind = message.DESCRIPTOR.fields_by_name[name].cpp_type
        if kind not in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
            value = int(value)
    try:
        setattr(message, name, value)
    except (TypeError, ValueError) as error:
        wrong.append(Violation(where, repr(value), str(error)))
