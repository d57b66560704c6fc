"""What was made with a plugin says so, and says what is missing where the plugin is not, or is too old."""

from __future__ import annotations

import shutil

import pytest
import torch
from plugintools import good, look_again

import atlas
from atlas import AtlasError, AtlasWarning
from atlas.artefacts.alignment import Alignment
from atlas.artefacts.composed import Composed
from atlas.cards.folder import read_card
from atlas.components.aggregator import Aggregator
from atlas.components.aligner import Aligner
from atlas.components.encoder import Encoder
from atlas.plugins.provenance import older

pytest_plugins = ["plugin_fixtures"]
POWER = '''
from dataclasses import dataclass
import torch
import atlas

@dataclass
class Power(atlas.Aligner):
    """Raise every number to a power after a shift."""
    name = "power"
    invertible = True
    {option}
    def _fit(self, X, Y):
        return {{"{tensor}": X.mean(0)}}
    @property
    def d_source(self):
        return len(self.state["{tensor}"])
    d_target = d_source
    def _transform(self, X):
        return (X - self.state["{tensor}"].to(X)) ** 3
    def _inverse_transform(self, Y):
        return Y.sign() * Y.abs() ** (1 / 3) + self.state["{tensor}"].to(Y)

@dataclass
class Ones(atlas.Encoder):
    """Ones for every item."""
    name = "ones"
    dim = 2
    def _encode(self, batch, device):
        return torch.ones(len(batch), 2)

@dataclass
class First(atlas.Aggregator):
    """Keep the vectors of the first space."""
    name = "first"
    def _fit(self, views, items):
        return {{space: self.chart_aligner().fit(X, X) for space, X in views.items()}}
    def chart_aligner(self):
        return atlas.create(atlas.Aligner, "identity")
    def _combine(self, rows, present):
        return rows[:, 0]

@atlas.hookimpl
def register_aligners():
    return [Power] if {there} else []

@atlas.hookimpl
def register_encoders():
    return [Ones]

@atlas.hookimpl
def register_aggregators():
    return [First]
'''


def power(tensor: str = "shift", option: str = "", there: bool = True) -> str:
    return POWER.format(tensor=tensor, option=option, there=there)


@pytest.fixture
def site(tmp_path):
    return tmp_path / "planted-site"


def fitted(aligner, folder):
    made = atlas.fit(aligner, source=atlas.read_vectors("a"), target=atlas.read_vectors("b"))
    made.save_pretrained(folder)
    return made


def charted():
    made = atlas.aggregate("first", atlas.read_vectors("a"), atlas.read_vectors("b"))
    made.save_pretrained("both")
    return made


def uninstall(site):
    shutil.rmtree(site)
    site.mkdir()
    look_again()


def test_the_card_records_plugin_and_version(plant, stored):
    plant("powers", power(), version="1.4")
    alignment = fitted("power", "made")
    assert alignment.plugin == "latent-atlas-powers 1.4"
    assert read_card("made").plugin == "latent-atlas-powers 1.4"
    atlas.save(atlas.create(Encoder, "ones"), "ones")
    assert read_card("ones").plugin == "latent-atlas-powers 1.4"


def test_an_artefact_whose_plugin_is_missing_says_which_to_install(plant, site, stored):
    plant("powers", power(), version="1.4")
    fitted("power", "made")
    atlas.save(atlas.create(Encoder, "ones"), "ones")
    charted()
    uninstall(site)
    get = r"it comes with latent-atlas-powers 1.4: atlas plugins install 'latent-atlas-powers>=1.4' \(or pip install\)$"
    for folder, what in (("made", "Aligner 'power'"), ("ones", "Encoder 'ones'"), ("both", "Aggregator 'first'")):
        with pytest.raises(AtlasError, match=rf"^{what} is not installed - {get}"):
            atlas.load(folder)


def test_a_card_of_before_the_plugins_were_renamed_finds_its_plugin(plant, site, stored, pair):
    plant("powers", power(), version="1.4")
    made = fitted("power", "made")
    card = stored / "made" / "config.yaml"
    card.write_text(card.read_text().replace("latent-atlas-powers 1.4", "atlas-powers 1.4"))
    assert torch.equal(atlas.load("made")(pair.source).data, made(pair.source).data)
    uninstall(site)
    plant("powers", power("offset"), version="1.3")
    with pytest.raises(AtlasError, match=r"made with atlas-powers 1\.4, and 1.3 is installed, which is too old"):
        atlas.load("made")
    uninstall(site)
    with pytest.raises(
        AtlasError, match=r"it comes with latent-atlas-powers 1\.4: atlas plugins install 'latent-atlas-p"
    ):
        atlas.load("made")


def test_an_affine_map_is_the_same_without_its_plugin(plant, site, stored, pair):
    plant("mover", good(), version="1.4")
    made = fitted("mover", "made")
    uninstall(site)
    loaded = atlas.load("made", "alignment")
    assert torch.equal(loaded(pair.source).data, made(pair.source).data)
    assert torch.equal(loaded.inverse()(pair.target).data, made.inverse()(pair.target).data)
    loaded.save_pretrained("again")
    card = read_card("again")
    assert (card.aligner, card.plugin) == ("mover", "latent-atlas-mover 1.4")


def test_a_part_of_a_chain_says_which_plugin_it_needs(plant, site, stored, pair):
    plant("powers", power(), version="1.4")
    there = atlas.fit("power", source=atlas.read_vectors("a"), target=atlas.read_vectors("b"))
    turned = atlas.fit("procrustes", source=atlas.read_vectors("b"), target=atlas.read_vectors("a"))
    made = Alignment.of(Composed.of([(there.aligner, False), (turned.aligner, False)]), there.source, there.source)
    made.save_pretrained("chain")
    assert torch.equal(atlas.load("chain")(pair.source).data, made(pair.source).data)
    uninstall(site)
    with pytest.raises(
        AtlasError, match=r"^Aligner 'power' is not installed - it comes with latent-atlas-powers 1.4: "
    ):
        atlas.load("chain")


@pytest.mark.parametrize(
    ("installed", "reason"),
    [
        (power("offset"), "power"),
        (power(option=""), "power"),
        (power(there=False), "power"),
    ],
    ids=["other-tensors", "no-such-option", "no-such-aligner"],
)
def test_a_plugin_that_is_too_old_is_told_with_both_versions(plant, site, stored, installed, reason):
    plant("powers", power(option='k: int = atlas.option(1, help="h")'), version="1.10")
    fitted("power", "made")
    uninstall(site)
    plant("powers", installed, version="1.9")
    said = "^Aligner 'power' was made with latent-atlas-powers 1.10, and 1.9 is installed, which is too old - "
    with pytest.raises(AtlasError, match=said + "pip install --upgrade 'latent-atlas-powers>=1.10'$"):
        atlas.load("made")


def test_an_older_plugin_that_loads_the_map_is_warned_of_unless_the_map_is_affine(plant, site, stored):
    plant("powers", power(), version="1.10")
    plant("mover", good(), version="1.10")
    fitted("power", "made")
    fitted("mover", "affine")
    uninstall(site)
    plant("powers", power(), version="1.9")
    plant("mover", good(), version="1.9")
    with pytest.warns(
        AtlasWarning, match="^Aligner 'power' was made with latent-atlas-powers 1.10, and 1.9 is installed - it"
    ):
        atlas.load("made")
    atlas.load("affine")


def test_a_plugin_that_dropped_the_component_is_told(plant, site, stored):
    plant("powers", power(), version="1.4")
    fitted("power", "made")
    uninstall(site)
    plant("powers", power(there=False), version="2.0")
    said = "^Aligner 'power' is not in latent-atlas-powers 2.0 any more - it was made with latent-atlas-powers 1.4: "
    with pytest.raises(AtlasError, match=said + "pip install 'latent-atlas-powers==1.4'$"):
        atlas.load("made")


def test_a_plugin_that_is_broken_or_disabled_is_told(plant, site, stored, monkeypatch):
    plant("powers", power(), version="1.4")
    fitted("power", "made")
    monkeypatch.setenv("ATLAS_DISABLE_PLUGINS", "powers")
    look_again()
    with pytest.raises(
        AtlasError, match=r"comes with latent-atlas-powers 1.4, which is left out: ATLAS_DISABLE_PLUGINS names"
    ):
        atlas.load("made")
    monkeypatch.delenv("ATLAS_DISABLE_PLUGINS")
    uninstall(site)
    plant("powers", "import no_such_library\n", version="1.4")
    with pytest.raises(
        AtlasError, match="which could not be loaded: ModuleNotFoundError: No module named 'no_such_lib"
    ):
        atlas.load("made")


def test_a_card_cannot_put_words_into_the_command_it_shows(plant, site, stored):
    plant("powers", power(), version="1.4")
    fitted("power", "made")
    uninstall(site)
    card = stored / "made" / "config.yaml"
    card.write_text(card.read_text().replace("latent-atlas-powers 1.4", "'latent-atlas-powers;rm 1.4'"))
    with pytest.raises(AtlasError, match=r"^Unknown aligner 'power' - .*known: ") as caught:
        atlas.load("made")
    assert "rm" not in str(caught.value).replace("permut", "")


def test_a_map_that_is_not_affine_cannot_pass_for_one(plant):
    plant("powers", power("weight").replace('"weight": X.mean(0)', '"weight": X.mean(0), "bias": X.mean(0)'))
    X = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    with pytest.raises(
        AtlasError, match=r"^Aligner 'power' learns weight and bias, as affine maps do, and is not affine"
    ):
        atlas.create(Aligner, "power").fit(X, X)


@pytest.mark.parametrize(
    ("version", "than", "expected"),
    [
        ("1.9", "1.10", True),
        ("1.10", "1.9", False),
        ("1.0", "1", False),
        ("1", "1.0.1", True),
        ("2.0rc1", "1.9", False),
        ("2.0rc1", "2.0", True),
        ("1!1.0", "1.0", False),
        ("nonsense", "1.0", False),
        ("1.0", "1.x", False),
    ],
)
def test_versions_are_compared_as_installers_do(version, than, expected):
    assert older(version, than) is expected


def test_aggregators_made_with_a_plugin_work(plant, stored):
    plant("powers", power(), version="1.4")
    made = charted()
    assert isinstance(made.aggregator, Aggregator)
    assert read_card("both").plugin == "latent-atlas-powers 1.4"
