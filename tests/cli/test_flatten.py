"""Commands that take groups of options, and what typer sees of them."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from inspect import signature
from typing import Annotated, get_args, get_type_hints

import pytest
import typer
import typer.main
from typer.testing import CliRunner

from lmfst.cli import app
from lmfst.cli.flatten import flattened
from lmfst.cli.loading import choice_of
from lmfst.cli.model_options import LimitOptions, ModelOptions, PolicyOptions, SamplingOptions
from lmfst.cli.options import GrammarOptions, ReadingOptions, RowOptions
from lmfst.ground import types
from lmfst.ground.errors import UsageError
from lmfst.inference.choose import PolicyChoice
from lmfst.inference.sampling import Sample

GROUPS = (GrammarOptions, ReadingOptions, RowOptions, ModelOptions, PolicyOptions, LimitOptions)
CHOICES = {
    "input_mode": types.InputMode,
    "specials": types.Specials,
    "prefix_space": types.PrefixSpace,
    "dtype": types.DType,
    "policy": types.PolicyName,
    "partial": types.Partial,
    "doc": types.DocMode,
    "format": types.RowFormat | None,
}


@dataclass(frozen=True)
class Colour:
    """A group."""

    red: Annotated[int, typer.Option("--red", help="How red.")] = 1
    green: Annotated[types.Given, typer.Option("--green")] = "source"


Plain = Annotated[bool, typer.Option("--plain")]


@flattened
def paint(*, first: Plain = False, colour: Colour, last: Plain = True) -> None:
    """Paints."""
    print(first, colour, last)


def test_fields_stand_in_their_groups_place() -> None:
    parameters = signature(paint).parameters
    assert [*parameters] == ["first", "red", "green", "last"]
    assert [one.default for one in parameters.values()] == [False, 1, "source", True]
    assert (paint.__name__, paint.__doc__) == ("paint", "Paints.")


def test_a_command_is_called_with_whole_groups(capsys: pytest.CaptureFixture[str]) -> None:
    paint(first=True, red=3, green="target", last=False)
    assert capsys.readouterr().out == f"True {Colour(3, 'target')} False\n"
    painter = typer.Typer()
    painter.command()(paint)
    done = CliRunner().invoke(painter, ["--red", "2", "--green", "target"])
    assert done.output == f"False {Colour(2, 'target')} True\n"
    assert CliRunner().invoke(painter, ["--green", "blue"]).exit_code == 2


def test_names_that_come_twice_are_an_error() -> None:
    def twice(*, red: Plain = False, colour: Colour) -> None:
        raise AssertionError

    with pytest.raises(TypeError, match="twice has parameters twice: red"):
        flattened(twice)


def test_choices_are_those_of_the_library() -> None:
    found = {}
    for group in GROUPS:
        for name, kind in get_type_hints(group).items():
            if name in CHOICES:
                found[name] = kind
    assert found == CHOICES


def test_every_command_has_a_module_of_its_name() -> None:
    group = typer.main.get_command(app)
    names = [*getattr(group, "commands", {})]
    assert names[:4] == ["convert", "score", "report", "next"]
    for name in names:
        module = importlib.import_module(f"lmfst.cli.{name}")
        assert getattr(module, name, None) or getattr(module, f"{name}_")


def test_the_defaults_of_options_choose_nothing() -> None:
    choice = choice_of(PolicyOptions(), LimitOptions(), SamplingOptions(), suggestible=True)
    assert choice == PolicyChoice() and choice.origin(choice.policy()) == "default"
    assert {*SamplingOptions.__dataclass_fields__} <= {*Sample.__dataclass_fields__}


@pytest.mark.parametrize("name", [name for name in get_args(types.PolicyName) if name != "auto"])
def test_exact_is_no_second_policy(name: types.PolicyName) -> None:
    policy, limits = PolicyOptions(policy=name, exact=True), LimitOptions()
    if name == "exact":
        assert choice_of(policy, limits, suggestible=True).name == "exact"
    else:
        with pytest.raises(UsageError, match=f"--policy {name} is another one"):
            choice_of(policy, limits, suggestible=True)
