"""What holds between `[data]`, `[model]` and `[objective]`: which go together, and what one fills in of another."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from toolkit.spec.augment import filled_in
from toolkit.spec.data import (
    BPETokenizer,
    BytesTokenizer,
    CharactersTokenizer,
    Data,
    UnigramTokenizer,
)
from toolkit.spec.errors import listing, shown
from toolkit.spec.model import ViT
from toolkit.spec.objective import READS, Contrastive, MaskedLM, Objective, RotationObjective
from toolkit.spec.places import is_url, under
from toolkit.spec.section import Conflict
from toolkit.spec.target import Finetune

if TYPE_CHECKING:
    from toolkit.spec.spec import Spec

_MODELS = {"text": ("gpt", "bert", "modernbert"), "image": ("vit",), "audio": ("vit",)}


def disagreements(spec: "Spec") -> Iterator[Conflict]:
    """Of the data, the model and the objective."""
    model, objective, data = spec.model, spec.objective, spec.data
    if model is None or objective is None:
        return
    kinds = _MODELS[data.modality]
    if model.kind not in kinds:
        yield Conflict(
            ("model.kind", "data.sources"),
            f'"{model.kind}" does not read {data.modality}, which data.sources hold. '
            f"Write {listing(map(shown, kinds))}.",
        )
    elif model.kind not in READS[objective.kind]:
        fitting = [kind for kind, models in READS.items() if model.kind in models]
        yield Conflict(
            ("objective.kind", "model.kind"),
            f'"{objective.kind}" does not train a model of kind "{model.kind}". '
            f"Write {listing(map(shown, fitting))}.",
        )
    elif isinstance(model, ViT):
        yield from _of_images(model, objective, data)


def _of_images(model: ViT, objective: Objective, data: Data) -> Iterator[Conflict]:
    _, height, width = data.image_shape
    side = model.patch_size
    if height % side or width % side:
        yield Conflict(
            ("model.patch_size", "data.image_size"),
            f"{side} does not divide images of {height} by {width} pixels.",
        )
    if isinstance(objective, RotationObjective) and height != width:
        yield Conflict(
            ("objective.kind", "data.image_size"),
            f'"rotation" needs square images, and these are {height} by {width} pixels.',
        )


def under_root(data: Data, finetune: Mapping[str, Finetune]) -> tuple[Data, Mapping[str, Finetune]]:
    """Both with `data.root` put before their relative paths, and gone: a plan that is read back equals itself."""
    root = data.root
    if root is None:
        return data, finetune

    def moved(source: Any) -> Any:
        keys = () if source.kind == "hub" else ("path", "validation_path")
        paths = {key: path for key in keys if (path := getattr(source, key, None)) is not None}
        joined = {k: p if p.startswith("~") or is_url(p) else under(root, p) for k, p in paths.items()}
        return source.model_copy(update=joined)

    sources = tuple(moved(source) for source in data.sources)
    targets = {name: t.model_copy(update={"data": moved(t.data)}) for name, t in finetune.items()}
    return data.model_copy(update={"root": None, "sources": sources}), targets


def completed_data(data: Data, objective: Objective | None) -> Data:
    """`data` with what the objective needs of it: a mask token for `masked_lm`."""
    tokenizer = data.tokenizer
    trained = (BPETokenizer, UnigramTokenizer, BytesTokenizer, CharactersTokenizer)
    if not isinstance(objective, MaskedLM) or not isinstance(tokenizer, trained) or tokenizer.mask_token:
        return data
    return data.model_copy(update={"tokenizer": tokenizer.model_copy(update={"mask_token": True})})


def completed_objective(objective: Objective | None, data: Data) -> Objective | None:
    """`objective` with what follows from the data: how views are made for `contrastive`."""
    if not isinstance(objective, Contrastive) or data.modality == "text":
        return objective
    return objective.model_copy(update={"augment": filled_in(objective.augment, data)})
