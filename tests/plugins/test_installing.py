"""Whatever made the environment, the command that installs into it is the right one, or there are words why not."""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path

import pytest
from plugintools import write_plugin

from atlas.errors import AtlasError
from atlas.plugins.installing import Environment, detect, refuse_strangers, requirement

BASE = Path("/usr")
needs_pip = pytest.mark.skipif(not shutil.which("pip"), reason="pip is not installed")


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """A PATH on which there are nothing but programs called uv and pipx."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("uv", "pipx"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def prefix(tmp_path):
    folder = tmp_path / "latent-atlas"
    folder.mkdir()
    return folder


def commands(env: Environment, **how: bool) -> tuple[list[str], list[str]]:
    return env.install(["atlas-x", "/some/folder"], **how), env.uninstall(["atlas-x"])


@needs_pip
def test_a_venv_is_installed_into_with_its_own_pip(prefix):
    env = detect(prefix, "/v/python", BASE)
    assert (env.tool, env.note) == ("pip", "")
    assert commands(env) == (
        ["/v/python", "-m", "pip", "install", "atlas-x", "/some/folder"],
        ["/v/python", "-m", "pip", "uninstall", "--yes", "atlas-x"],
    )
    assert env.install(["atlas-x"], upgrade=True) == ["/v/python", "-m", "pip", "install", "--upgrade", "atlas-x"]
    assert env.install(["/x"], editable=True) == ["/v/python", "-m", "pip", "install", "--editable", "/x"]
    look = ["install", "--quiet", "--no-deps", "--target", "/t", "/x"]
    assert env.unpack(["/x"], "/t") == ["/v/python", "-m", "pip", *look]


def test_a_venv_of_uv_is_installed_into_with_uv(prefix, tools):
    (prefix / "pyvenv.cfg").write_text("home = /usr/bin\nuv = 0.13.9\nversion_info = 3.11.7\n")
    env = detect(prefix, "/v/python", BASE)
    uv = str(tools / "uv")
    assert env.tool == "uv"
    assert commands(env, upgrade=True) == (
        [uv, "pip", "install", "--python", "/v/python", "--upgrade-package", "atlas-x", "atlas-x", "/some/folder"],
        [uv, "pip", "uninstall", "--python", "/v/python", "atlas-x"],
    )


def test_the_venv_of_a_uv_project_is_said_to_forget(tmp_path, tools):
    prefix = tmp_path / ".venv"
    prefix.mkdir()
    (prefix / "pyvenv.cfg").write_text("uv = 0.13.9\n")
    (tmp_path / "uv.lock").write_text("")
    assert "'uv add' those you want to keep" in detect(prefix, "/v/python", BASE).note


def test_pipx_injects(prefix, tools):
    (prefix / "pipx_metadata.json").write_text("{}")
    env = detect(prefix, "/v/python", BASE)
    pipx = str(tools / "pipx")
    assert env.tool == "pipx"
    assert commands(env) == (
        [pipx, "inject", "latent-atlas", "atlas-x", "/some/folder"],
        [pipx, "uninject", "latent-atlas", "atlas-x"],
    )
    assert env.install(["atlas-x"], upgrade=True) == [pipx, "inject", "--force", "latent-atlas", "atlas-x"]
    assert env.install(["/x"], editable=True) == [pipx, "inject", "--editable", "latent-atlas", "/x"]
    look = ["install", "--quiet", "--no-deps", "--target", "/t", "/x"]
    assert env.unpack(["/x"], "/t") == [pipx, "runpip", "latent-atlas", *look]


def test_a_tool_that_is_gone_is_told(prefix, tools):
    (prefix / "pipx_metadata.json").write_text("{}")
    (tools / "pipx").unlink()
    with pytest.raises(AtlasError, match="was made with pipx, which cannot be found - put it on the PATH"):
        detect(prefix, "/v/python", BASE).install(["atlas-x"])


RECEIPT = """
[tool]
requirements = [
    { name = "latent-atlas", extras = ["text"], specifier = ">=0.1" },
    { name = "atlas-old", specifier = "==1.0" },
    { name = "atlas-here", directory = "/d/here" },
    { name = "atlas-mine", editable = "/d/mine" },
    { name = "atlas-git", git = "https://example.org/x.git?rev=main" },
    { name = "atlas-url", url = "https://example.org/x.whl" },
]
python = "3.12"
entrypoints = [{ name = "atlas", install-path = "/b/atlas", from = "latent-atlas" }]

[tool.options]
torch-backend = "cpu"
"""


def test_a_uv_tool_keeps_what_it_was_given_before(prefix, tools):
    (prefix / "uv-receipt.toml").write_text(RECEIPT)
    env = detect(prefix, "/v/python", BASE)
    begin = [str(tools / "uv"), "tool", "install", "--python", "3.12", "--torch-backend", "cpu"]
    kept = ["--with", "/d/here", "--with-editable", "/d/mine"]
    kept += ["--with", "atlas-git @ git+https://example.org/x.git@main"]
    kept += ["--with", "atlas-url @ https://example.org/x.whl"]
    tool = "latent-atlas[text]>=0.1"
    assert env.tool == "uv tool"
    assert env.install(["new"]) == [*begin, tool, "--with", "atlas-old==1.0", *kept, "--with", "new"]
    flags = ["--upgrade-package", "Atlas_Old"]
    assert env.install(["Atlas_Old>=2"], upgrade=True) == [*begin, *flags, tool, *kept, "--with", "Atlas_Old>=2"]
    assert env.install(["/x"], editable=True)[-2:] == ["--with-editable", "/x"]
    assert env.install(["/d/here"]).count("/d/here") == 1
    assert env.uninstall(["atlas-old"]) == [*begin, tool, *kept]
    assert env.uninstall(["atlas-old", "Atlas_Here"]) == [*begin, tool, *kept[2:]]


def test_atlas_itself_may_be_editable_in_a_uv_tool(prefix, tools):
    (prefix / "uv-receipt.toml").write_text(
        '[tool]\nrequirements = [{ name = "latent-atlas", editable = "/d/atlas" }]\n'
    )
    command = detect(prefix, "/v/python", BASE).install(["new"])
    assert command[1:] == ["tool", "install", "--editable", "/d/atlas", "--with", "new"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[tool]\nrequirements = []\n", "cannot be repeated: not enough values"),
        ("[tool]\n", "cannot be repeated: 'requirements'"),
        ("nonsense", "cannot be repeated: .* - run 'uv tool install' by hand"),
        (RECEIPT + 'index = [{ url = "https://example.org" }]\n', "'https://example.org'}] has no form on the command"),
    ],
)
def test_a_receipt_that_cannot_be_repeated_is_told(prefix, tools, text, words):
    (prefix / "uv-receipt.toml").write_text(text)
    with pytest.raises(AtlasError, match=words):
        detect(prefix, "/v/python", BASE).install(["new"])


@needs_pip
def test_conda_is_installed_into_with_pip_even_where_it_is_the_base(prefix):
    (prefix / "conda-meta").mkdir()
    (stdlib := stdlib_of(prefix)).mkdir(parents=True)
    (stdlib / "EXTERNALLY-MANAGED").write_text("")
    for base in (BASE, prefix):
        env = detect(prefix, "/c/python", base)
        assert env.install(["x"]) == ["/c/python", "-m", "pip", "install", "x"]


def stdlib_of(prefix: Path) -> Path:
    return Path(sysconfig.get_path("stdlib", vars={"installed_base": str(prefix), "base": str(prefix)}))


@needs_pip
def test_a_python_of_ones_own_is_installed_into(prefix):
    assert detect(prefix, "/p/python", prefix).tool == "pip"


def test_a_python_that_others_manage_is_left_alone(prefix):
    (stdlib := stdlib_of(prefix)).mkdir(parents=True)
    (stdlib / "EXTERNALLY-MANAGED").write_text("[externally-managed]\n")
    words = (
        r"managed by the operating system \(.*EXTERNALLY-MANAGED\) - install Atlas in an environment of its own, with"
    )
    with pytest.raises(AtlasError, match=words):
        detect(prefix, "/p/python", prefix)


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        (
            "uv/archive-v0/abc",
            "that uvx makes anew each time - name the plugin there: uvx --with PLUGIN latent-atlas",
        ),
        ("project/.pixi/envs/default", "belongs to a pixi project, whose file must name the plugin - pixi add --pypi"),
    ],
)
def test_an_environment_that_would_forget_is_refused(tmp_path, folder, words):
    (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(AtlasError, match=words):
        detect(tmp_path / folder, "/p/python", BASE)


def test_a_frozen_conda_environment_is_refused(prefix):
    (prefix / "conda-meta").mkdir()
    (prefix / "conda-meta" / "frozen").write_text("")
    with pytest.raises(AtlasError, match="is frozen - make another: conda create"):
        detect(prefix, "/p/python", BASE)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_an_environment_of_somebody_else_is_refused(prefix):
    prefix.chmod(0o555)
    with pytest.raises(AtlasError, match="cannot be written to - ask its owner"):
        detect(prefix, "/p/python", BASE)


@pytest.mark.parametrize(
    ("spec", "ready"),
    [
        ("atlas-x", "atlas-x"),
        ("atlas-x[big]>=1,<2", "atlas-x[big]>=1,<2"),
        ("atlas-x @ git+https://example.org/x", "atlas-x @ git+https://example.org/x"),
        ("git+https://example.org/x.git@main", "git+https://example.org/x.git@main"),
        ("https://example.org/x.git", "git+https://example.org/x.git"),
        ("https://example.org/x", "git+https://example.org/x"),
        ("https://example.org/x-1-py3-none-any.whl", "https://example.org/x-1-py3-none-any.whl"),
    ],
)
def test_names_and_urls_are_passed_on(spec, ready):
    assert requirement(spec) == ready


def test_folders_and_wheels_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("pkg").mkdir()
    Path("pkg/pyproject.toml").touch()
    Path("x-1-py3-none-any.whl").touch()
    assert requirement("./pkg") == requirement("pkg/") == str(tmp_path / "pkg")
    assert requirement("x-1-py3-none-any.whl") == str(tmp_path / "x-1-py3-none-any.whl")
    assert requirement("pkg") == "pkg"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("--index-url=https://example.org", "'--index-url=https://example.org' cannot be installed - give a name"),
        ("-e", "'-e' cannot be installed"),
        ("", "'' cannot be installed"),
        ("two words", "'two words' cannot be installed"),
        ("./missing", "'./missing' is not there - give a name, a folder, a wheel or the URL"),
        ("missing.whl", "'missing.whl' is not there"),
        ("./empty", r"'./empty' is no package - a folder with a pyproject.toml is"),
    ],
)
def test_what_cannot_be_installed_is_refused(spec, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    with pytest.raises(AtlasError, match=words):
        requirement(spec)


def test_what_is_no_plugin_is_refused_by_its_metadata(tmp_path):
    write_plugin(tmp_path, "mover", "import no_such_library\n")
    refuse_strangers(str(tmp_path))
    stranger = tmp_path / "atlas_mover-1.0.dist-info"
    stranger.mkdir()
    (stranger / "METADATA").write_text("Metadata-Version: 2.1\nName: atlas-mover\nVersion: 1.0\n")
    (stranger / "entry_points.txt").write_text("[console_scripts]\natlas-mover = atlas_mover:main\n")
    said = "^'atlas-mover' is no plugin of Atlas: it has no entry point in the group 'latent_atlas', and nothing was"
    with pytest.raises(AtlasError, match=said):
        refuse_strangers(str(tmp_path))
