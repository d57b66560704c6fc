"""A verb is written once: its command and its step of recipes are what its function says."""

from __future__ import annotations

import importlib
import inspect
import typing

import click
import pytest

from atlas.cli import COMMANDS, main
from atlas.recipes.reading import TAKES
from atlas.verbs.parameters import arguments
from atlas.verbs.parameters.signatures import KINDS, VERBS, verb

# What commands add to a verb, or say in another way.
ADDED = {"out", "overwrite", "registry", "options", "as_json", "save", "help"}


def function(name):
    module, function = VERBS[name]
    return getattr(importlib.import_module(f"atlas.verbs.{module}"), function)


@pytest.mark.parametrize("name", VERBS)
def test_what_is_read_from_the_source_is_the_signature(name):
    found = verb(name).parameters
    expected = inspect.signature(function(name)).parameters
    assert list(found) == list(expected)
    for one, parameter in expected.items():
        read = found[one]
        variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        assert read.positional == (parameter.kind not in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD))
        assert read.many == (parameter.kind is parameter.VAR_POSITIONAL or "Sequence" in str(parameter.annotation))
        if parameter.default is parameter.empty:
            optional = parameter.kind is parameter.VAR_KEYWORD or "None" in str(parameter.annotation)
            optional |= parameter.kind is parameter.VAR_POSITIONAL and "moments" in {*expected} - {one}
            assert read.required == (not optional), one
        elif one != "progress":
            assert not read.required and read.default == parameter.default
        assert variadic or one in typing.get_type_hints(function(name))


@pytest.mark.parametrize("name", VERBS)
def test_every_parameter_is_explained(name):
    found = verb(name)
    assert found.summary.endswith(".") and "\n" not in found.summary
    for parameter in found.parameters.values():
        assert parameter.help.endswith(".") and parameter.help[0].isupper(), parameter


@pytest.mark.parametrize("name", VERBS)
def test_what_it_makes_is_what_it_returns(name):
    returned = typing.get_type_hints(function(name))["return"]
    kind = {"file": "Path", "figures": ("Metric", "Comparison")}.get(verb(name).makes, verb(name).makes.capitalize())
    assert any(word in str(returned) for word in ([kind] if isinstance(kind, str) else kind))


def test_every_kind_of_thing_is_a_type():
    named = [name for name in KINDS if name.endswith(("Like", "Seed", "Size"))]
    assert named and all(hasattr(arguments, name) for name in named)
    assert {name for name in vars(arguments) if name.endswith("Like")} == {n for n in KINDS if n.endswith("Like")}


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_is_a_command_with_its_parameters(name):
    summary = next(section[name][1] for section in COMMANDS.values() if name in section)
    assert summary == verb(name).summary
    command = main.get_command(click.Context(main), name)
    assert command is not None
    have = {parameter.name for parameter in command.params}
    if "words" in have:
        have = (have - {"words"}) | {word.name for word in command.words}
    assert have - ADDED == set(verb(name).parameters) - ADDED - {"progress"}
    assert ("as_json" in have) == (verb(name).makes == "figures")
    assert ("out" in have) == (verb(name).stores or "out" in verb(name).parameters)
    assert ("options" in have) == ("options" in verb(name).parameters)


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_that_makes_something_for_others_is_a_step(name):
    if name == "export":
        assert name not in TAKES
        return
    ours = {"out", "overwrite", "progress", "save_space", "split"}
    assert set(TAKES[name]) - {"backwards"} == set(verb(name).parameters) - ours
