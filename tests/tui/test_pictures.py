"""The pictures in the README. `TK_PICTURES=RUNS pytest tests/tui/test_pictures.py` makes them."""

import os
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from conftest import look

from tui.compose import compose, shown_keys
from tui.picture import picture
from tui.state import PAGES, Desk

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "tui" / "pictures"
SIZE = 116, 30
LARGEST = 60_000


def drawn(desk: Desk) -> dict[str, str]:
    found = {}
    for page in PAGES:
        desk.page = page
        found[page] = picture(compose(desk, *SIZE, shown_keys(desk, {})))
    return found


def test_pictures_are_well_formed_and_say_what_the_screen_says(desk: Desk) -> None:
    for page, text in drawn(desk).items():
        root = ElementTree.fromstring(text)
        words = " ".join(element.text or "" for element in root.iter() if element.tag.endswith("text"))
        assert "1 Runs" in words, page
        assert len(text) < LARGEST


def test_the_readme_shows_a_picture_of_each_screen() -> None:
    shown = re.findall(r"\(tui/pictures/(\w+)\.svg\)", (ROOT / "README.md").read_text())
    assert set(shown) == set(PAGES)
    for page in PAGES:
        path = PICTURES / f"{page}.svg"
        ElementTree.parse(path)
        assert path.stat().st_size < LARGEST


@pytest.mark.skipif("TK_PICTURES" not in os.environ, reason="TK_PICTURES names no runs folder")
def test_make_the_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(os.environ["TK_PICTURES"])
    monkeypatch.chdir(folder.parent)
    desk = look(Path(folder.name))
    desk.local.sample()
    desk.at = next((run.name for run in desk.library.active), desk.at)
    desk.lineage.update()
    desk.lineage.at = last_of_a_child(desk)
    PICTURES.mkdir(exist_ok=True)
    for page, text in drawn(desk).items():
        assert str(folder.parent) not in text
        (PICTURES / f"{page}.svg").write_text(text)


def last_of_a_child(desk: Desk) -> int:
    """The newest checkpoint of the first run that comes from another: it has an ancestry to show."""
    rows = [row for _, row in desk.lineage.rows]
    places = [at for at, row in enumerate(rows) if row.run and row.run.parent and row.checkpoint]
    first = [at for at in places if rows[at].run is rows[places[0]].run]
    return first[-1] if first else 0
