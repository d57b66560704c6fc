"""The page runs as it stands."""

from pathlib import Path

from pagetools import run_page


def test_the_page_runs(server, folder, monkeypatch):
    monkeypatch.setenv("PGHOST", server)
    monkeypatch.setenv("PGUSER", "postgres")
    assert run_page(Path(__file__).parents[1] / "README.md") == 9
