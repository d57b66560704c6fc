"""Plugins that change the process they are in, print where results go, or return nothing."""

from __future__ import annotations

import json
import os
import warnings

import pytest
import torch
from planted import normal
from plugintools import good
from processtools import Forked

import atlas
from atlas.components.aggregator import Aggregator
from atlas.components.aligner import Aligner
from atlas.components.exporter import Exporter
from atlas.components.settings import put_back, settings
from atlas.plugins.catalogue import component

pytest_plugins = ["plugin_fixtures"]

CHANGES = {
    "umask": "import os; os.umask(0)",
    "default dtype of torch": "import torch; torch.set_default_dtype(torch.float64)",
    "gradient mode of torch": "import torch; torch.set_grad_enabled(False)",
    "number of threads of torch": "import torch; torch.set_num_threads(torch.get_num_threads() + 1)",
    "environment variable HF_ENDPOINT": "import os; os.environ['HF_ENDPOINT'] = 'http://other.example'",
    "environment variable HF_TOKEN": "import os; os.environ['HF_TOKEN'] = 'other'",
}
AT_WORK = good().replace("        return", "        {}\n        return", 1)
NOT_LINEAR = '''
from dataclasses import dataclass
import atlas

@dataclass
class Forgets(atlas.Aligner):
    """Learn nothing."""
    name = "forgets"
    def _fit(self, X, Y):
        {}
    def _transform(self, X):
        return X

@atlas.hookimpl
def register_aligners():
    return [Forgets]
'''


@pytest.fixture(autouse=True)
def as_before():
    """Settings as they were, whatever a test does, and known."""
    before = settings()
    yield
    put_back(before)


def values():
    return {name: value for name, (value, _) in settings().items()}


@pytest.mark.parametrize("what", CHANGES)
def test_what_an_import_changes_is_undone_and_noted(plant, capfd, what):
    before = values()
    plant("meddler", CHANGES[what] + "\n" + good())
    assert component(Aligner, "mover").name == "mover"
    assert values() == before
    said = f"Warning: plugin 'meddler': it changes the {what} when it is imported, which was undone\n"
    assert capfd.readouterr().err == said


@pytest.mark.parametrize("what", CHANGES)
def test_what_a_fit_changes_is_undone_and_warned_of(plant, what):
    plant("meddler", AT_WORK.format(CHANGES[what]))
    before = values()
    with pytest.warns(atlas.AtlasWarning, match=f"^Aligner 'mover' changes the {what}, which was undone$"):
        atlas.create(Aligner, "mover").fit(normal(9, 3), normal(9, 3))
    assert values() == before


def test_what_a_failing_fit_changes_is_undone(plant):
    plant("meddler", AT_WORK.format("import os; os.umask(0); raise OSError('gone')"))
    before = values()
    with pytest.warns(atlas.AtlasWarning, match="umask"), pytest.raises(OSError, match="gone"):
        atlas.create(Aligner, "mover").fit(normal(9, 3), normal(9, 3))
    assert values() == before


def test_a_fit_that_changes_nothing_is_not_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        atlas.create(Aligner, "linear").fit(normal(30, 3), normal(30, 3))


def test_the_client_of_the_hub_does_not_go_where_a_plugin_says(plant, tmp_path):
    code = "import os\nos.environ['HF_ENDPOINT'] = 'http://other.example'\nimport huggingface_hub.constants\n"
    plant("meddler", code + good())
    asked = (
        "from atlas.plugins.catalogue import plugins; plugins()\n"
        "from huggingface_hub import constants, HfApi; import os\n"
        "print(constants.ENDPOINT, HfApi().endpoint, os.environ.get('HF_ENDPOINT'))"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "planted-site")}
    environment.pop("HF_ENDPOINT", None)
    said = Forked(asked, env=environment).communicate()
    assert said == ("https://huggingface.co https://huggingface.co None\n", "")


def test_what_a_plugin_prints_at_work_is_not_in_the_result(plant, stored, atlas_command):
    transform = "def _transform(self, X):\n        print('hello')\n        return X\n    def solve"
    plant("loud", AT_WORK.format("print('hello')").replace("def solve", transform))
    fitted = atlas_command("fit", "mover", "--source", "a", "--target", "b", "--out", "made")
    assert fitted.stdout == "" and "hello" in fitted.stderr
    result = atlas_command("evaluate", "made", "--source", "a", "--target", "b", "--json")
    assert "hello" in result.stderr
    json.loads(result.stdout)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("return None", "NoneType"),
        ("return X", "Tensor"),
        ("return {'shift': 1.0}", "float under 'shift'"),
        ("return {1: X}", "Tensor under 1"),
    ],
)
def test_a_fit_that_learns_no_tensors_is_named(plant, line, what):
    module = plant("forgets", NOT_LINEAR.format(line))
    words = f"^Aligner 'forgets' learned {what} where it should learn a dict of tensors by name - report this to its "
    with pytest.raises(atlas.AtlasError, match=words + rf"author \({module}\)$"):
        atlas.create(Aligner, "forgets").fit(normal(9, 3), normal(9, 3))


def test_an_encoding_that_changes_the_umask_is_warned_of(monkeypatch):
    from atlas.components.encoder import Encoder

    encoder = atlas.create(Encoder, "tfidf-svd", dim=1, min_df=1)
    texts = ["one two", "two three", "three one four"]
    encoder.fit(texts)
    encode = type(encoder)._encode
    monkeypatch.setattr(type(encoder), "_encode", lambda *given: (os.umask(0), encode(*given))[1])
    before = values()
    with pytest.warns(atlas.AtlasWarning, match="^Encoder 'tfidf-svd' changes the umask, which was undone$"):
        torch.cat(list(encoder.encode(texts)))
    assert values() == before


@pytest.fixture
def work():
    """What components are asked for beside fits, samples and encodings, by the method of theirs that does it."""
    X, Y = normal(9, 3), normal(9, 3, seed=1)
    both = atlas.create(Aligner, "two-way").fit(X, Y)
    joined = atlas.create(Aggregator, "generalized-procrustes").fit({"a": X, "b": Y})
    model = atlas.fit("linear", source=X, target=Y)
    return {
        "_transform": (both, lambda: both.transform(X)),
        "_inverse_transform": (both, lambda: both.inverse_transform(Y)),
        "_add": (joined, lambda: joined.add("c", X)),
        "_combine": (joined, lambda: joined.combine(torch.stack([X, Y], 1), torch.ones(9, 2, dtype=torch.bool))),
        "_export": (exporter := atlas.create(Exporter, "numpy"), lambda: exporter.export(model, "made")),
    }


@pytest.mark.parametrize("method", ["_transform", "_inverse_transform", "_add", "_combine", "_export"])
def test_what_other_work_of_a_component_changes_is_undone_and_warned_of(monkeypatch, tmp_path, work, method):
    monkeypatch.chdir(tmp_path)
    component, do = work[method]
    sound = getattr(type(component), method)
    monkeypatch.setattr(type(component), method, lambda *given: (os.umask(0), sound(*given))[1])
    before = values()
    with pytest.warns(atlas.AtlasWarning, match=f"^{component.label().capitalize()} changes the umask, which was undo"):
        do()
    assert values() == before
