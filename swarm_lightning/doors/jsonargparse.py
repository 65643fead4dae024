"""Parsers of jsonargparse: what they know and what their messages mean, where its documented parts do not suffice.

Tested with jsonargparse 4.51.0 to 4.53.0; up to 4.50 a class with types is no implementation of a protocol without.
Relied on, besides what is documented:

- `parser._actions`: each with `dest`; those of commands have parsers as `choices`, those of classes a `_typehint`.
- `_typehints.get_all_subclass_paths(class)`: what a short name can stand for. Classes that derive from a protocol by
  name are found as those of any other class are.
- a protocol's method that has no annotations is implemented by one that has any, and the same names.
- the words of its messages: see `UNKNOWN_KEYS`, `CLASS_PATH`, `NO_NAME`, `SEVERAL`, `KEY`, `NO_MAPPING`, `IN_TEXT`.
- where a setting may be null too, a message says so in lines around the real one, see `_of_one_type`, and what making
  its class raises is the cause of a ValueError that begins with `NO_MEMBER`.
- a config file is read by `parse_path`, which hands its text to `parse_string` as `content`.
- `parser.error(message, ex)` is called with what is wrong, and `parser.exit_on_error` says whether it may exit.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn, get_args, get_origin

from jsonargparse import ArgumentParser, Namespace

UNKNOWN_KEYS = (
    re.compile(r"unrecognized arguments: --(?P<key>[\w.]+)"),
    re.compile(r"does not accept (?:option|nested key) '(?P<key>[\w.]+)'"),
    re.compile(r"[Oo]ption '(?P<key>[\w.]+)' is not accepted"),
    re.compile(r"[Kk]ey '(?P<key>[\w.]+)' is not expected"),
)
CLASS_PATH = re.compile(r"class_path[ =]'(?P<path>[\w.]+)'")
KEY = re.compile(r'Parser key "(?P<key>[\w.]+)"')
NO_NAME = re.compile(r"Expected a dot import path string: (?P<name>\w+)$", re.MULTILINE)
SEVERAL = re.compile(r"Multiple subclasses with name (?P<name>\w+)\.[^:]*: (?P<paths>[\w., ]+)\.")
NO_MAPPING = "Unexpected config:"
NO_MEMBER = "Does not validate against any of the Union subtypes"
IN_TEXT = 'in "<unicode string>"'


@dataclass(frozen=True)
class Complaint:
    """What a message of a parser means, as far as that can be told from its words.

    Attributes:
        text: The message.
        unknown_key: The key that is none, joined by dots.
        class_path: The class that has no argument of that name.
        unknown_name: The short name of a class that is not there, or is there several times.
        paths: What the short name can stand for, where there are several.
        key: The key whose value is wrong.
        no_mapping: What came in place of a mapping of keys to values.
    """

    text: str
    unknown_key: str | None = None
    class_path: str | None = None
    unknown_name: str | None = None
    paths: tuple[str, ...] = ()
    key: str | None = None
    no_mapping: str | None = None


def complaint_of(message: str) -> Complaint:
    """Read a parser's message.

    >>> complaint_of("unrecognized arguments: --model.particels 5").unknown_key
    'model.particels'
    """
    message = _of_one_type(message.strip().replace(IN_TEXT, "in the config"))
    if message.startswith(NO_MAPPING):
        return Complaint(message, no_mapping=message.removeprefix(NO_MAPPING).strip())
    place = KEY.search(message)
    key = None if place is None else place["key"]
    several, missing = SEVERAL.search(message), NO_NAME.search(message)
    if several is not None:
        return Complaint(message, unknown_name=several["name"], paths=tuple(several["paths"].split(", ")), key=key)
    if missing is not None:
        return Complaint(message, unknown_name=missing["name"], key=key)
    unknown = next((match for pattern in UNKNOWN_KEYS if (match := pattern.search(message))), None)
    if unknown is None:
        return Complaint(message, key=key)
    path = CLASS_PATH.search(message)
    return Complaint(message, unknown["key"], None if path is None else path["path"], key=key)


def _of_one_type(message: str) -> str:
    r"""Return a message about a setting that may also be null without the lines that say that it may.

    >>> lines = ["Key:", "  " + NO_MEMBER, "  Subtypes: [...]", "  Errors:", "    - Too long:", "        3 at most"]
    >>> print(_of_one_type("\n".join([*lines, "    - Expected a <class 'NoneType'>", "  Given value: 5"])))
    Key:
      Too long:
        3 at most
    """
    lines = message.splitlines()
    around = (NO_MEMBER, "Subtypes:", "Errors:", "- Expected a <class 'NoneType'>", "Given value")
    kept = [line for line in lines if not line.lstrip().startswith(around)]
    marked = [place for place, line in enumerate(kept) if line.lstrip().startswith("- ")]
    if NO_MEMBER not in message or len(marked) != 1:
        return message
    start = kept[marked[0]].index("- ")
    inner = [line.replace("- ", "", 1) if place == marked[0] else line for place, line in enumerate(kept)]
    if inner[marked[0]].lstrip().startswith("Expected a <class"):  # says what it expected, and not what came
        given = (line.lstrip() for line in lines if line.lstrip().startswith("Given value:"))
        inner += [" " * (start + 2) + line for line in given]
    depth = max(0, start - 2)
    return "\n".join(
        line[depth if place == marked[0] else depth + 2 :] if place >= marked[0] else line
        for place, line in enumerate(inner)
    )


class OpenParser(ArgumentParser):
    """A parser that takes no abbreviated options, and hands what is wrong to a method of the heir."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take the arguments of `ArgumentParser`.

        Args:
            args: Those of `ArgumentParser`.
            kwargs: Those of `ArgumentParser`.
        """
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})
        # What takes further commands; None in a parser without commands.
        self.commands: Any = None

    def add_subcommands(self, *args: Any, **kwargs: Any) -> Any:
        """Add commands, and remember what takes further ones."""
        self.commands = super().add_subcommands(*args, **kwargs)
        return self.commands

    def parse_string(self, content: str, *args: Any, **kwargs: Any) -> Namespace:
        """Parse the text of a config, as the heir would have it.

        Args:
            content: The text.
            args: Those of `ArgumentParser.parse_string`.
            kwargs: Those of `ArgumentParser.parse_string`.
        """
        return super().parse_string(self.adapt_config(content), *args, **kwargs)

    def adapt_config(self, text: str) -> str:
        """Return the text of a config as it is to be read; to be overridden."""
        return text

    def refuse(self, complaint: Complaint, error: Exception | None) -> NoReturn:
        """Raise what the user is told.

        Args:
            complaint: What is wrong.
            error: Where it comes from.
        """
        raise NotImplementedError

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Refuse the arguments, unless errors are wanted as they come."""
        if not self.exit_on_error:
            super().error(message, ex)
        self.refuse(complaint_of(message), ex)


def keys_of(parser: ArgumentParser) -> set[str]:
    """Return all keys that a parser and its commands know, joined by dots."""
    found: set[str] = set()
    for action in _actions_of(parser):
        if isinstance(action.dest, str) and not action.dest.endswith("help"):
            found.add(action.dest)
    return found | {".".join(key.split(".")[:count]) for key in found for count in range(1, key.count(".") + 1)}


def classes_of(parser: ArgumentParser, key: str) -> list[str]:
    """Return the import paths of the classes that short names can stand for.

    Args:
        parser: Of a command line; its commands are looked through too.
        key: Of a setting that takes a class, joined by dots.
    """
    from jsonargparse._typehints import get_all_subclass_paths

    types = [getattr(action, "_typehint", None) for action in _actions_of(parser) if action.dest == key]
    return sorted({path for type_ in types for class_ in _classes_in(type_) for path in get_all_subclass_paths(class_)})


def arguments_of(class_: type) -> list[str]:
    """Return the names of a class's arguments, those that it hands on to its parents included."""
    return list(ArgumentParser().add_class_arguments(class_))


def raised_by_a_class(error: Exception) -> Exception:
    """Return what a class has raised when it was made, out of what the parser makes of it where null is possible too.

    Args:
        error: What making the classes of a config has raised.
    """
    hidden = isinstance(error, ValueError) and str(error).startswith(NO_MEMBER)
    return error.__cause__ if hidden and isinstance(error.__cause__, Exception) else error


def take_any_types(*methods: Callable[..., Any]) -> None:
    """Let classes be implementations of a protocol whatever the types of their methods are.

    Only the names of their arguments must be those of the protocol then. Type checkers see the types all the same.

    Args:
        methods: Of the protocol.
    """
    for method in methods:
        method.__annotations__ = {}


def _actions_of(parser: ArgumentParser) -> Iterator[Any]:
    for action in parser._actions:
        if isinstance(action.choices, dict):  # the commands
            for inner in action.choices.values():
                yield from _actions_of(inner)
        else:
            yield action


def _classes_in(type_: Any) -> Iterator[type]:
    if get_origin(type_) is None:
        if inspect.isclass(type_) and type_ not in (bool, int, float, str, type(None)):
            yield type_
        return
    inner = get_args(type_)
    for one in inner[-1:] if isinstance(inner[0], list) else inner:  # of a function: what it returns
        yield from _classes_in(one)
