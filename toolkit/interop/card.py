"""The model card of an export: what it comes from, what it was trained on, how, and how well it does."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from toolkit.interop.heads import PROBLEMS
from toolkit.plan.corpus import CorpusFacts, read_facts
from toolkit.plan.figures import flop, short
from toolkit.plan.parents import HUGGING_FACE
from toolkit.plan.plan import Plan
from toolkit.spec.model import GPTArchitecture
from toolkit.spec.spec import PRETRAIN
from toolkit.store.errors import UnknownCheckpoint
from toolkit.store.lineage import Ancestor, history
from toolkit.store.manifest import Checkpoint
from toolkit.store.text import sanitize

PIPELINES = {
    "causal_lm": "text-generation",
    "masked_lm": "fill-mask",
    "chat": "text-generation",
    "translate": "translation",
    "answer": "question-answering",
    "rotation": "image-feature-extraction",
    "masked_image": "image-feature-extraction",
    "contrastive": "image-feature-extraction",
    "tag": "token-classification",
    **dict.fromkeys((kind for kind, problem in PROBLEMS.items() if problem), "text-classification"),
}


class Card(NamedTuple):
    """What a card tells of."""

    plan: Plan
    checkpoint: Checkpoint
    root: Path
    """The runs folder, where the ancestors are."""
    notes: tuple[str, ...] = ()
    """What a user must know."""
    adapter_of: str | None = None
    """The base that an adapter stands on; None for a whole model."""


def model_card(card: Card) -> str:
    """Markdown with the front matter that the Hugging Face hub reads."""
    plan, checkpoint = card.plan, card.checkpoint
    ancestors = list(_ancestors(card))
    results = sorted(checkpoint.metrics.items())
    metrics = {name: f"{value:.4f}" for name, value in results if "loss" in name or name.startswith("val/")}
    title = plan.name if plan.stage == PRETRAIN else f"{plan.name}, {plan.stage}"
    return "\n".join(
        [
            "---",
            *_front(card, ancestors),
            "---",
            "",
            f"# {title}",
            "",
            _summary(card),
            "",
            *_usage(card),
            *(f"\nNote: {sanitize(note)}." for note in card.notes),
            *_section("Metrics", metrics or {"none": "nothing was measured here"}),
            "",
            "`val/` is measured on what was held out; losses are in nats.",
            *_section("Data", dict(_data(plan))),
            *_section("Recipe", dict(_recipe(card))),
            *_section("Model", dict(_model(plan))),
            *_section(
                "Origin",
                {
                    "run": f"{plan.name}/{plan.stage}",
                    "step": str(checkpoint.step),
                    "operations": _spent(checkpoint),
                    "checkpoint": checkpoint.id,
                    "plan": plan.fingerprint,
                    "data": plan.data_fingerprint or "not known",
                },
            ),
            *_lineage(ancestors),
            "",
        ]
    )


def _front(card: Card, ancestors: list[Ancestor]) -> Iterator[str]:
    plan = card.plan
    yield f"library_name: {'peft' if card.adapter_of else 'transformers'}"
    if base := _public(card.adapter_of) if card.adapter_of else _base_model(card, ancestors):
        yield f"base_model: {json.dumps(base)}"
        if card.adapter_of:
            yield "base_model_relation: adapter"
        elif plan.parent is not None:
            yield "base_model_relation: finetune"
    if pipeline := _pipeline(plan):
        yield f"pipeline_tag: {pipeline}"
    family = (
        plan.architecture.preset if isinstance(plan.architecture, GPTArchitecture) else plan.architecture.kind
    )
    yield f"tags: [{family}, {plan.task.kind.replace('_', '-')}]"


def _base_model(card: Card, ancestors: list[Ancestor]) -> str | None:
    """The hub's name of the imported model it comes from; else the parent's run and step."""
    for plan in (card.plan, *(_plan_of(ancestor) for ancestor in ancestors)):
        if plan is not None and plan.origin is not None:
            return _public(plan.origin.reference.removeprefix(HUGGING_FACE))
    parent = card.plan.parent
    return None if parent is None else f"{parent.run}@step_{parent.step}"


def _public(name: str) -> str:
    """A name on the hub; of a folder only the last part, as the rest tells of the machine."""
    return Path(name).name if Path(name).is_absolute() else name


def _summary(card: Card) -> str:
    plan = card.plan
    size = short(plan.parameters.total)
    if plan.origin is not None:
        return f"A model with {size} parameters, as it was imported."
    if plan.parent is None:
        return f"A model with {size} parameters, pretrained by {plan.task.kind} from random weights."
    how = f"by {plan.tune.kind}, {short(plan.trainable)} of its parameters moving" if plan.tune else ""
    named = plan.task.kind in ("classify", "multilabel", "tag")
    labels = f" Labels: {', '.join(plan.labels)}." if named else ""
    return sanitize(f"A model with {size} parameters, fine-tuned to {plan.task.kind} {how}.{labels}")


def _pipeline(plan: Plan) -> str | None:
    if plan.architecture.kind == "vit" and plan.task.kind in PROBLEMS:
        return "image-classification"
    return PIPELINES.get(plan.task.kind)


def _auto_class(plan: Plan) -> str:
    """Which of the Auto classes opens it."""
    if plan.task.kind == "tag":
        return "AutoModelForTokenClassification"
    if plan.task.kind in PROBLEMS:
        kind = "Image" if plan.architecture.kind == "vit" else "Sequence"
        return f"AutoModelFor{kind}Classification"
    if plan.task.kind == "body" or plan.architecture.kind == "vit":
        return "AutoModel"
    return f"AutoModelFor{'CausalLM' if isinstance(plan.architecture, GPTArchitecture) else 'MaskedLM'}"


def _usage(card: Card) -> Iterator[str]:
    plan, auto = card.plan, _auto_class(card.plan)
    reads = "AutoImageProcessor" if plan.architecture.kind == "vit" else "AutoTokenizer"
    yield "```python"
    if card.adapter_of:
        labels = f", num_labels={1 if plan.task.kind == 'regress' else len(plan.labels)}"
        yield "from peft import PeftModel"
        yield f"from transformers import {auto}, {reads}"
        yield ""
        yield f"base = {auto}.from_pretrained("
        yield f"    {json.dumps(card.adapter_of)}{labels if 'Classification' in auto else ''}"
        yield ")"
        yield 'model = PeftModel.from_pretrained(base, "FOLDER")'
    else:
        yield f"from transformers import {auto}, {reads}"
        yield ""
        yield f'model = {auto}.from_pretrained("FOLDER")'
    if plan.architecture.kind == "vit":
        yield f'processor = {reads}.from_pretrained("FOLDER")'
        yield "```"
        return
    yield f'tokenizer = {reads}.from_pretrained("FOLDER")'
    if card.adapter_of and "Classification" in auto:
        yield "model.config.pad_token_id = tokenizer.pad_token_id"
    yield "```"
    yield ""
    yield "Around every text stand the tokens that the tokenizer puts there, as in training."


def _data(plan: Plan) -> Iterator[tuple[str, str]]:
    if plan.origin is not None:
        yield "trained on", "not known: the model was imported"
        return
    source = getattr(plan.task, "data", None)
    if source is not None:
        yield "labelled rows", _named(source)
        if plan.epochs and plan.steps:
            yield "training rows", f"{round(plan.steps * plan.batch_rows / plan.epochs):,}"
        return
    facts = read_facts(plan.data)
    if facts is not None and facts.fingerprint != plan.data_fingerprint:
        facts = None
    for number, text in enumerate(plan.data.sources):
        yield f"source {number + 1}", f"{_named(text)}{_amount(facts, number)}, weight {text.weight:g}"
    yield "held out", f"{plan.data.validation:.3g} of the documents, by content hash"


def _amount(facts: CorpusFacts | None, number: int) -> str:
    if facts is None:
        return ""
    train = facts.sources[number].train
    return f": {train.documents:,} documents, {short(train.tokens)} tokens"


def _named(source: Any) -> str:
    """A name on the hub; of local files only the last part, as the rest tells of the machine."""
    path = getattr(source, "path", None)
    if path is None:
        return str(source.kind)
    if source.kind == "hub":
        return f"hub {path} {source.name or ''}".strip()
    return f"{source.kind} {Path(path).name}"


def _recipe(card: Card) -> Iterator[tuple[str, str]]:
    plan, step = card.plan, card.checkpoint.step
    if plan.origin is not None:
        yield "recipe", "not known: the model was imported"
        return
    train, tokens = plan.train, card.checkpoint.info.get("tokens")
    optimizer = train.optimizer.model_dump(mode="json", exclude={"kind"})
    schedule = train.schedule.model_dump(mode="json", exclude={"kind"})
    units = "tokens" if plan.parent is None else "units of loss"
    seen = "" if tokens is None else f", {short(float(tokens))} {units}"
    yield "length", f"{step:,} of {plan.steps or 0:,} steps{seen}"
    yield "batch", f"{plan.batch_rows} rows of {plan.row_length} tokens"
    if plan.tune is not None:
        yield (
            "what moves",
            f"{plan.tune.kind} ({_options(plan.tune.model_dump(mode='json', exclude={'kind'}))})",
        )
    yield "optimizer", f"{train.optimizer.kind} ({_options(optimizer)})"
    yield "schedule", f"{train.schedule.kind} ({_options(schedule)})"
    yield "clipping", "none" if train.clip is None else f"gradient norm {train.clip:g}"
    yield "seed", str(plan.seed)


def _model(plan: Plan) -> Iterator[tuple[str, str]]:
    arch = plan.architecture
    yield "family", arch.preset if isinstance(arch, GPTArchitecture) else arch.kind
    yield "layers", str(arch.n_layers)
    yield "width", str(arch.d_model)
    yield "heads", f"{arch.n_heads}, of keys and values {arch.n_kv_heads}"
    yield "context", f"{plan.sequence_length} positions"
    if plan.vocab_size:
        yield "vocabulary", f"{plan.vocab_size:,} tokens ({plan.data.tokenizer.kind})"
    yield "parameters", f"{plan.parameters.total:,}"


def _ancestors(card: Card) -> Iterator[Ancestor]:
    """One checkpoint a run: the one that this came from, nearest first."""
    seen = {f"{card.plan.name}/{card.plan.stage}"}
    try:
        found = history(card.root, card.checkpoint.id)
    except UnknownCheckpoint:
        return
    for ancestor in found[1:]:
        run = str(ancestor.run) if ancestor.run else ancestor.id
        if run not in seen:
            seen.add(run)
            yield ancestor


def _lineage(ancestors: list[Ancestor]) -> list[str]:
    if not ancestors:
        return []
    rows = [
        "",
        "## Lineage",
        "",
        "| came from | step | checkpoint | operations |",
        "| --- | --- | --- | --- |",
    ]
    for ancestor in ancestors:
        if ancestor.checkpoint is None:
            rows.append(f"| not here | | {ancestor.id} | |")
            continue
        plan = _plan_of(ancestor)
        name = str(ancestor.run)
        if plan is not None and plan.origin is not None:
            name += f", imported from {_base_model(Card(plan, ancestor.checkpoint, Path()), [])}"
        cells = [name, str(ancestor.checkpoint.step), ancestor.id, _spent(ancestor.checkpoint)]
        rows.append(f"| {' | '.join(map(_cell, cells))} |")
    return rows


def _spent(checkpoint: Checkpoint) -> str:
    """On training of the checkpoint's own run."""
    spent = checkpoint.info.get("flops")
    return "not known" if spent is None else flop(float(spent))


def _plan_of(ancestor: Ancestor) -> Plan | None:
    if ancestor.run is None:
        return None
    try:
        return Plan.model_validate_json(ancestor.run.plan.read_bytes())
    except (OSError, ValidationError):
        return None


def _section(title: str, rows: Mapping[str, str]) -> list[str]:
    return ["", f"## {title}", "", "| | |", "| --- | --- |", *(_row(*row) for row in rows.items())]


def _row(label: str, value: str) -> str:
    return f"| {_cell(label)} | {_cell(value)} |"


def _cell(text: str) -> str:
    return sanitize(text).replace("|", "\\|").replace("<", "&lt;")


def _options(options: dict[str, object]) -> str:
    return ", ".join(f"{name} {json.dumps(value)}" for name, value in options.items())
