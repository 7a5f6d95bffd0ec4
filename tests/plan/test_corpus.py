"""Facts of a corpus are found again for the same section, and for no other."""

import json

import pytest

from toolkit.plan.corpus import SplitFacts, cache_root, data_key, read_facts, write_facts


def test_facts_read_back_equal(spec, facts, tmp_path):
    data, made = spec().data, facts(sources=2)
    assert read_facts(data, cache=tmp_path) is None
    write_facts(data, made, cache=tmp_path)
    assert read_facts(data, cache=tmp_path) == made
    assert read_facts(spec(data={"validation": 0.2}).data, cache=tmp_path) is None


def test_the_cache_is_where_the_environment_says(spec, facts, tmp_path, monkeypatch):
    monkeypatch.setenv("TK_CACHE", str(tmp_path / "elsewhere"))
    write_facts(spec().data, facts())
    assert cache_root() == tmp_path / "elsewhere"
    assert list(cache_root().rglob("*.json"))


@pytest.mark.parametrize("damage", ["torn", "version", "key"])
def test_damaged_or_foreign_facts_count_as_none(spec, facts, tmp_path, damage):
    data = spec().data
    write_facts(data, facts(), cache=tmp_path)
    (file,) = tmp_path.rglob("*.json")
    content = json.loads(file.read_text())
    match damage:
        case "torn":
            file.write_bytes(file.read_bytes()[:50])
        case "version":
            file.write_text(json.dumps({**content, "version": 999}))
        case "key":
            file.write_text(json.dumps({**content, "unheard_of": 1}))
    assert read_facts(data, cache=tmp_path) is None


def test_totals_are_sums_over_sources(facts):
    made = facts(rows=100, held_out=5, sources=3)
    assert made.train == SplitFacts(documents=300, bytes=270_000, tokens=76_800, rows=300)
    assert made.validation.rows == 15


def test_key_depends_on_the_section(spec):
    keys = [
        data_key(spec(data=change).data)
        for change in (
            {},
            {"sequence_length": 128},
            {"validation": 0.1},
            {"tokenizer": {"kind": "bytes"}},
            {"sources": [{"kind": "files", "path": "a.txt"}]},
            {"sources": [{"kind": "hub", "path": "a/b"}]},
        )
    ]
    assert len(set(keys)) == len(keys)


def test_a_relative_path_is_read_from_the_working_folder(spec, tmp_path, monkeypatch):
    def key(path):
        return data_key(spec(data={"sources": [{"kind": "files", "path": str(path)}]}).data)

    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    here = key("a.txt")
    assert here == key(tmp_path / "a.txt")
    monkeypatch.chdir(tmp_path / "other")
    assert key("a.txt") != here
