"""What holds between data, model and objective, and what one fills in of another."""

import pytest

from toolkit.spec.errors import SpecErrors
from toolkit.spec.load import load_spec
from toolkit.spec.spec import Spec

TRAIN = {"duration": "10 steps", "batch": "32 rows"}
DIGITS = {"sources": [{"kind": "digits"}]}
PHOTOGRAPHS = {"sources": [{"kind": "folder", "path": "x"}], "image_size": 32}
SPEECH = {"sources": [{"kind": "audio", "path": "x", "mel_bands": 32, "seconds": 0.64}]}


def made(data, model, objective) -> Spec:
    sources = tuple(data.get("sources", ({"kind": "python_stdlib"},)))
    return Spec(name="x", data={**data, "sources": sources}, model=model, objective=objective, train=TRAIN)


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        (DIGITS, (1, 8, 8)),
        ({**DIGITS, "image_size": 16, "channels": 3}, (3, 16, 16)),
        (PHOTOGRAPHS, (3, 32, 32)),
        ({**PHOTOGRAPHS, "image_size": (16, 24)}, (3, 16, 24)),
        (SPEECH, (1, 32, 64)),
    ],
)
def test_shapes_of_images(data, shape) -> None:
    spec = made(data, {"kind": "vit"}, {"kind": "masked_image"})
    assert spec.data.image_shape == shape


@pytest.mark.parametrize(
    ("data", "model", "objective", "message"),
    [
        (
            {},
            {"kind": "vit"},
            {"kind": "rotation"},
            'model.kind: "vit" does not read text, which data.sources hold. Write "gpt", "bert" or "modernbert".',
        ),
        (
            DIGITS,
            {"kind": "gpt"},
            {"kind": "causal_lm"},
            'model.kind: "gpt" does not read image, which data.sources hold. Write "vit".',
        ),
        (
            {},
            {"kind": "gpt"},
            {"kind": "masked_lm"},
            'objective.kind: "masked_lm" does not train a model of kind "gpt". Write "causal_lm".',
        ),
        (
            DIGITS,
            {"kind": "vit", "patch_size": 3},
            {"kind": "masked_image"},
            "model.patch_size: 3 does not divide images of 8 by 8 pixels.",
        ),
        (
            SPEECH,
            {"kind": "vit"},
            {"kind": "rotation"},
            'objective.kind: "rotation" needs square images, and these are 32 by 64 pixels.',
        ),
        (
            {"sources": [{"kind": "digits"}, {"kind": "python_stdlib"}]},
            {"kind": "vit"},
            {"kind": "rotation"},
            "sources: image and text can't be mixed.",
        ),
        (
            {"sources": [{"kind": "folder", "path": "x"}]},
            {"kind": "vit"},
            {"kind": "rotation"},
            "image_size: missing.",
        ),
        ({"image_size": 8}, {"kind": "gpt"}, {"kind": "causal_lm"}, "image_size: has no meaning for text."),
        (
            DIGITS,
            {"kind": "vit", "class_token": False},
            {"kind": "rotation"},
            'pooling: "class" needs class_token = true.',
        ),
        (
            DIGITS,
            {"kind": "vit", "d_model": 130},
            {"kind": "rotation"},
            "d_model: 130 is not divisible by n_heads",
        ),
    ],
)
def test_what_does_not_go_together(data, model, objective, message) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        made(data, model, objective)
    assert message in str(caught.value)


def test_masked_lm_gives_the_tokenizer_a_mask() -> None:
    bert = {"kind": "bert"}
    for tokenizer in ("bpe", "unigram", "bytes", "characters"):
        spec = made({"tokenizer": {"kind": tokenizer}}, bert, {"kind": "masked_lm"})
        assert spec.data.tokenizer.mask_token
    gpt = made({"tokenizer": {"kind": "bytes"}}, {"kind": "gpt"}, {"kind": "causal_lm"})
    assert not gpt.data.tokenizer.mask_token
    assert spec == Spec.model_validate(spec.model_dump(mode="json"))


def test_views_follow_from_the_kind_of_images() -> None:
    vit, contrastive = {"kind": "vit"}, {"kind": "contrastive"}
    digits = made(DIGITS, vit, contrastive).objective.augment
    assert digits.flip.share == 0
    assert digits.colour.share == 0
    assert digits.turn.degrees > 0
    photographs = made(PHOTOGRAPHS, vit, contrastive).objective.augment
    assert photographs.flip.share == 0.5
    assert photographs.colour.share == 0.8
    assert photographs.blur.share == 0  # too small
    assert made({**PHOTOGRAPHS, "image_size": 96}, vit, contrastive).objective.augment.blur.share == 0.5
    assert made(SPEECH, vit, contrastive).objective.augment.flip.share == 0
    own = made(DIGITS, vit, {**contrastive, "augment": {"flip": {"share": 0.3}}}).objective.augment
    assert own == digits.model_copy(update={"flip": own.flip})
    assert own.flip.share == 0.3


def test_a_mistake_in_a_view_is_located(tmp_path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(
        'name = "x"\n[data]\nsources = [{ kind = "digits" }]\n[model]\nkind = "vit"\n[objective]\n'
        'kind = "contrastive"\naugment = { crop = { smallest = 2 } }\n[train]\nduration = "3 steps"\n'
        'batch = "8 rows"\n'
    )
    with pytest.raises(SpecErrors) as caught:
        load_spec(path)
    assert "s.toml:8:33  objective.augment.crop.smallest: must be a number above 0 and at most 1" in str(
        caught.value
    )
