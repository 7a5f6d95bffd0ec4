"""Fine-tunes in a spec: their order, and what is wrong with them, with its place."""

from collections.abc import Callable

from tests.spec.conftest import SOUND
from toolkit.spec.load import LoadedSpec

Load = Callable[..., LoadedSpec]
Mistakes = Callable[..., str]
ROWS = 'data = { kind = "files", path = "a.jsonl" }'


def test_a_parent_within_the_spec_stands_before_its_children(load: Load) -> None:
    text = f"""{SOUND}
[finetune.last]
kind = "classify"
parent = "middle"
{ROWS}
[finetune.middle]
kind = "regress"
parent = "first"
{ROWS}
[finetune.first]
kind = "classify"
{ROWS}
"""
    assert load(text).spec.stages == ("pretrain", "first", "middle", "last")


def test_a_parent_stands_for_the_pretraining(load: Load) -> None:
    spec = load(f'name = "a"\nparent = "b/pretrain@best"\n[finetune.x]\nkind = "classify"\n{ROWS}\n').spec
    assert spec.stages == ("x",)
    assert spec.model is None


def test_mistakes_name_their_places(mistakes: Mistakes) -> None:
    text = """name = "a"
parent = "b"
[finetune.x]
kind = "clasify"
data = { kind = "files", path = "a.jsonl", limitt = 3 }
[finetune.y]
kind = "regress"
data = { kind = "files", path = "a.jsonl" }
tune = { kind = "lora", rank = 0 }
input_key = 3
parent = "z"
[finetune.z]
kind = "regress"
data = { kind = "files", path = "a.jsonl" }
parent = "y"
"""
    keys = "s.toml:10:13  finetune.y.input_key: must be a key in quotes, or a list of keys, not 3."
    assert mistakes(text).splitlines() == [
        's.toml:4:8  finetune.x.kind: "clasify" is unknown. Write "classify", "regress", "multilabel", "tag", '
        '"answer", "chat" or "translate". Did you mean classify?',
        "s.toml:5:44  finetune.x.data.limitt: unknown key. Did you mean limit?",
        "s.toml:9:32  finetune.y.tune.rank: must be a whole number from 1 to 1024, not 0.",
        keys,
        "s.toml:11:10  finetune.y.parent: y <- z <- y is a circle.",
        "s.toml:15:10  finetune.z.parent: z <- y <- z is a circle.",
        "6 errors. Nothing was run.",
    ]


def test_a_spec_is_pretrained_or_has_a_parent(mistakes: Mistakes) -> None:
    both = mistakes(f'parent = "b"\n{SOUND}')
    assert "model: a spec with parent = 'b' is not pretrained. Leave out one of them." in both
    assert "parent: a parent alone trains nothing. Add a [finetune.NAME] table." in both
    neither = mistakes('name = "a"')
    assert [line.split()[1] for line in neither.splitlines()[:3]] == ["model:", "objective:", "train:"]


def test_names_of_stages_are_names_of_folders(mistakes: Mistakes) -> None:
    stages = "".join(f'[finetune."{name}"]\nkind = "regress"\n{ROWS}\n' for name in ("../x", "pretrain"))
    text = mistakes(f"{SOUND}\n{stages}")
    assert "'../x' can't name a stage" in text
    assert "'pretrain' can't name a stage" in text


def test_surprisal_asks_for_a_parent_that_stays_as_it_is(mistakes: Mistakes, load: Load) -> None:
    pooled = (
        f'name = "a"\nparent = "b/pretrain"\n[finetune.x]\nkind = "regress"\n{ROWS}\npool = "surprisal"\n'
    )
    for tune in ("", 'tune = { kind = "lora" }\n'):
        assert mistakes(pooled + tune).splitlines()[0] == (
            "s.toml:6:8  finetune.x.pool: what surprises the parent is known of a trunk that stays as it is. Write "
            'tune = { kind = "head" }, or pool = "mean".'
        )
    frozen = pooled + 'tune = { kind = "head" }\n'
    assert mistakes(frozen + 'start = "scratch"\n').splitlines()[0] == (
        's.toml:8:9  finetune.x.start: nothing surprises a model from scratch. Write pool = "mean", or leave it out.'
    )
    assert load(frozen).spec.finetune["x"].pool == "surprisal"
