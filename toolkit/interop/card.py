"""The model card of an export: what it was trained on, how, and how well it does."""

import json
from pathlib import Path

from toolkit.plan.corpus import CorpusFacts, read_facts
from toolkit.plan.figures import short
from toolkit.plan.plan import Plan
from toolkit.spec.data import FilesSource, HubSource, Source
from toolkit.store.manifest import Checkpoint
from toolkit.store.text import sanitize


def model_card(plan: Plan, checkpoint: Checkpoint) -> str:
    """Markdown with the front matter that the Hugging Face hub reads."""
    arch, train = plan.architecture, plan.train
    optimizer = train.optimizer.model_dump(mode="json", exclude={"kind"})
    schedule = train.schedule.model_dump(mode="json", exclude={"kind"})
    tokens = checkpoint.info.get("tokens")
    seen = "" if tokens is None else f", {short(float(tokens))} tokens"
    recipe = {
        "length": f"{checkpoint.step:,} of {plan.steps or 0:,} steps{seen}",
        "batch": f"{plan.batch_rows} rows of {plan.sequence_length} tokens",
        "optimizer": f"{train.optimizer.kind} ({_options(optimizer)})",
        "schedule": f"{train.schedule.kind} ({_options(schedule)})",
        "clipping": "none" if train.clip is None else f"gradient norm {train.clip:g}",
        "seed": str(plan.seed),
    }
    model = {
        "family": arch.preset,
        "layers": str(arch.n_layers),
        "width": str(arch.d_model),
        "heads": f"{arch.n_heads}, of keys and values {arch.n_kv_heads}",
        "context": f"{arch.max_sequence_length} tokens",
        "vocabulary": f"{plan.vocab_size:,} tokens ({plan.data.tokenizer.kind})",
        "parameters": f"{plan.parameters.total:,}",
    }
    origin = {
        "run": f"{plan.name}/{plan.stage}",
        "step": str(checkpoint.step),
        "checkpoint": checkpoint.id,
        "plan": plan.fingerprint,
        "data": plan.data_fingerprint or "not known",
    }
    results = sorted(checkpoint.metrics.items())
    metrics = {name: f"{value:.4f}" for name, value in results if "loss" in name or name.startswith("val/")}
    return "\n".join(
        [
            "---",
            "library_name: transformers",
            "pipeline_tag: text-generation",
            f"tags: [{arch.preset}, causal-lm]",
            "---",
            "",
            f"# {plan.name}",
            "",
            f"A language model with {short(plan.parameters.total)} parameters, pretrained from "
            f"{'a checkpoint' if plan.parent else 'random weights'}.",
            "",
            "```python",
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            'model = AutoModelForCausalLM.from_pretrained("FOLDER")',
            'tokenizer = AutoTokenizer.from_pretrained("FOLDER")',
            "```",
            "",
            "Every text begins with the end-of-text token, as the documents in training did; "
            "the tokenizer adds it.",
            *_section("Metrics", metrics),
            "",
            "`val/` is measured on held-out documents, in nats a token and bits a byte.",
            *_section("Data", _data(plan, read_facts(plan.data))),
            *_section("Recipe", recipe),
            *_section("Model", model),
            *_section("Origin", origin),
            "",
        ]
    )


def _data(plan: Plan, facts: CorpusFacts | None) -> dict[str, str]:
    if facts is not None and facts.fingerprint != plan.data_fingerprint:
        facts = None
    rows: dict[str, str] = {}
    for number, source in enumerate(plan.data.sources):
        text = f"{source.kind} {_place(source)}".strip()
        if facts is not None:
            train = facts.sources[number].train
            text += f": {train.documents:,} documents, {short(train.tokens)} tokens"
        rows[f"source {number + 1}"] = f"{text}, weight {source.weight:g}"
    rows["held out"] = f"{plan.data.validation:.3g} of the documents, by content hash"
    return rows


def _place(source: Source) -> str:
    """A name on the hub; of local files only the last part, as the rest tells of the machine."""
    match source:
        case FilesSource(path=path):
            return Path(path).name
        case HubSource(path=path, name=name):
            return f"{path} {name or ''}".strip()
        case _:
            return ""


def _section(title: str, rows: dict[str, str]) -> list[str]:
    return ["", f"## {title}", "", "| | |", "| --- | --- |", *(_row(*row) for row in rows.items())]


def _row(label: str, value: str) -> str:
    return f"| {_cell(label)} | {_cell(value)} |"


def _cell(text: str) -> str:
    return sanitize(text).replace("|", "\\|").replace("<", "&lt;")


def _options(options: dict[str, object]) -> str:
    return ", ".join(f"{name} {json.dumps(value)}" for name, value in options.items())
