"""What `doors/jsonargparse.py` relies on, on every version of jsonargparse."""

from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn, Protocol

import pytest
from jsonargparse import ActionConfigFile, ArgumentParser

from swarm_lightning.doors.jsonargparse import (
    Complaint,
    OpenParser,
    arguments_of,
    classes_of,
    complaint_of,
    keys_of,
    raised_by_a_class,
    take_any_types,
)
from swarm_lightning.errors import InputError

pytestmark = pytest.mark.smoke
DOOR = f"swarm_lightning/doors/jsonargparse.py relies on it, and jsonargparse is {version('jsonargparse')}"


class Scores(Protocol):
    def score(self, reply: str) -> float: ...


take_any_types(Scores.score)


class Length(Scores):
    def __init__(self, most: int = 30) -> None:
        self.most = most

    def score(self, reply: str) -> float:
        return min(len(reply), self.most)


class Untyped:
    def score(self, reply):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        return 0


class Typed:
    def score(self, reply: bytes) -> int:
        return 0


class Other:
    def score(self, text: str) -> float:
        return 0.0


class Animal:
    pass


class Fox(Animal):
    pass


class Refused(Exception):  # noqa: N818
    def __init__(self, complaint: Complaint) -> None:
        super().__init__(complaint.text)
        self.complaint = complaint


class Parser(OpenParser):
    def refuse(self, complaint: Complaint, error: Exception | None) -> NoReturn:
        raise Refused(complaint) from error


def parser() -> Parser:
    """Return a parser with the command `fit`."""
    fit = Parser()
    fit.add_argument("--config", action=ActionConfigFile)
    fit.add_argument("--particles", type=int, default=20)
    fit.add_argument("--objective", type=Scores)
    fit.add_argument("--animals", type=Animal | list[Animal] | None)
    fit.add_argument("--make", type=Callable[[Iterable], Animal])
    fit.add_class_arguments(Length, "length")
    whole = Parser()
    whole.add_subcommands().add_subcommand("fit", fit)
    return whole


def refusal(*arguments: str) -> Complaint:
    with pytest.raises(Refused) as refused:
        parser().parse_args(["fit", *arguments])
    return refused.value.complaint


def here(name: str) -> str:
    return f"{__name__}.{name}"


def test_commands_can_be_added_to_a_parser_that_has_some() -> None:
    whole = parser()
    whole.commands.add_subcommand("sweep", Parser())
    assert whole.parse_args(["sweep"]).subcommand == "sweep", f"Expected add_subcommands to return what adds: {DOOR}."


def test_keys_of_commands_and_groups_are_known() -> None:
    expected = {"config", "particles", "objective", "length", "length.most"}
    assert expected <= keys_of(parser()), f"Expected parser._actions to hold all keys: {DOOR}."


@pytest.mark.parametrize("key", ["animals", "make"])
def test_short_names_are_those_of_all_classes_that_a_setting_takes(key: str) -> None:
    names = {path.rpartition(".")[2] for path in classes_of(parser(), key)}
    assert names == {"Animal", "Fox"}, f"Expected a setting to know its classes: {DOOR}."


def test_what_derives_from_a_protocol_goes_by_its_name() -> None:
    assert [path.rpartition(".")[2] for path in classes_of(parser(), "objective")] == ["Length"], DOOR
    parsed = parser().parse_args(["fit", "--objective", "Length", "--objective.most", "4"])
    assert parsed.fit.objective.class_path == here("Length"), f"Expected a short name to become its path: {DOOR}."
    assert parsed.fit.objective.init_args.most == 4, DOOR


@pytest.mark.parametrize("name", ["Length", "Untyped", "Typed"])
def test_a_protocol_without_types_takes_classes_with_any(name: str) -> None:
    parsed = parser().parse_args(["fit", "--objective", here(name)])
    assert parsed.fit.objective.class_path == here(name), f"Expected the names alone to count: {DOOR}."


def test_a_protocol_without_types_refuses_other_names() -> None:
    assert refusal("--objective", here("Other")).key == "objective", f"Expected names of arguments to count: {DOOR}."


def test_arguments_of_a_class_are_known() -> None:
    assert arguments_of(Length) == ["most"], f"Expected add_class_arguments to name them: {DOOR}."


@pytest.mark.parametrize(
    ("arguments", "field", "expected"),
    [
        (["--particels", "5"], "unknown_key", "particels"),
        (["--particle", "5"], "unknown_key", "particle"),  # no abbreviation
        (["--config", "{particels: 5}"], "unknown_key", "particels"),
        (["--config", "{length: {mst: 5}}"], "unknown_key", "mst"),
        (["--objective", here("Length"), "--objective.mst", "5"], "unknown_key", "mst"),
        (["--objective", here("Length"), "--objective.mst", "5"], "class_path", here("Length")),
        (["--config", f"{{objective: {{class_path: {here('Length')}, init_args: {{mst: 5}}}}}}"], "unknown_key", "mst"),
        (["--objective", "Lenght"], "unknown_name", "Lenght"),
        (["--objective", "Lenght"], "key", "objective"),
        (["--animals", "Foxx"], "unknown_name", "Foxx"),
        (["--animals+=Foxx"], "unknown_name", "Foxx"),
        (["--particles", "many"], "key", "particles"),
    ],
)
def test_messages_are_understood(arguments: list[str], field: str, expected: str) -> None:
    complaint = refusal(*arguments)
    found = getattr(complaint, field)
    assert found is not None, f"Expected to read the {field} from {complaint.text!r}: {DOOR}."
    assert found.rpartition(".")[2] == expected or found == expected, f"{complaint.text!r}: {DOOR}."


def test_a_config_that_is_no_mapping_is_understood(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("just words")
    complaint = refusal("--config", str(tmp_path / "config.yaml"))
    assert complaint.no_mapping == "just words", f"Expected to see what came from {complaint.text!r}: {DOOR}."


def test_a_name_of_several_classes_is_understood() -> None:
    made: Any = type("Fox", (Animal,), {"__module__": "collections"})  # a second one, elsewhere
    try:
        import collections

        collections.Fox = made  # type: ignore[attr-defined]
        complaint = refusal("--animals", "Fox")
        assert complaint.unknown_name == "Fox", f"Expected to read the name from {complaint.text!r}: {DOOR}."
        assert set(complaint.paths) == {here("Fox"), "collections.Fox"}, f"{complaint.text!r}: {DOOR}."
    finally:
        del collections.Fox  # type: ignore[attr-defined]


def test_a_message_of_another_kind_stays_as_it_is() -> None:
    assert complaint_of("  Something else. ") == Complaint("Something else.")


def test_errors_come_as_they_are_where_they_are_wanted() -> None:
    with pytest.raises(Exception, match="particels") as raised:
        Parser(exit_on_error=False).parse_args(["--particels", "5"])
    assert not isinstance(raised.value, Refused | InputError), f"Expected exit_on_error to be heeded: {DOOR}."


class Refusing:
    def __init__(self, limit: int) -> None:
        raise LookupError(f"no such limit: {limit}")


def test_what_a_class_raises_is_found_where_null_is_possible_too() -> None:
    parser = ArgumentParser()
    parser.add_argument("--part", type=Refusing | None)
    given = parser.parse_object({"part": {"class_path": f"{__name__}.Refusing", "init_args": {"limit": 3}}})
    with pytest.raises(ValueError, match="Union subtypes") as told:
        parser.instantiate_classes(given)
    assert isinstance(raised_by_a_class(told.value), LookupError), DOOR
    other = ValueError("another")
    assert raised_by_a_class(other) is other


def test_a_message_about_what_may_also_be_null_is_that_of_the_class() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--part", type=Refusing | None)
    with pytest.raises(Exception, match="Union subtypes") as told:
        parser.parse_object({"part": {"class_path": f"{__name__}.Refusing", "init_args": {"limits": 3}}})
    complaint = complaint_of(str(told.value))
    assert "NoneType" not in complaint.text, DOOR
    assert "Subtypes" not in complaint.text, DOOR
    assert complaint.unknown_key == "limits", DOOR
    assert complaint.class_path == f"{__name__}.Refusing", DOOR
