"""From what a spec calls its parent to what is known of it: a stage, another spec, a run, or an imported folder."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from toolkit.plan.errors import PlanError
from toolkit.plan.machine import Machine
from toolkit.plan.parent import Parent, ParentRecord
from toolkit.plan.plan import Plan, known_facts, make_plan
from toolkit.spec.load import load_spec
from toolkit.spec.spec import PRETRAIN, Spec
from toolkit.store.checkpoints import CheckpointStore
from toolkit.store.errors import StoreError
from toolkit.store.manifest import Checkpoint
from toolkit.store.runs import RunFolder, parse_reference, require_run

HUGGING_FACE = "hf:"
NOTHING: Mapping[str, Plan] = {}
IMPORTS = "hf"
"""Name of the runs that models of others are imported as: `hf/MODEL`."""


class Reference(NamedTuple):
    """A parent as written, taken apart."""

    run: RunFolder
    selector: str | None
    spec: Spec | None
    """The spec that the run comes from, where the parent is a stage or a spec: it can be started."""
    path: Path | None = None
    """File of that spec; None for the child's own."""


def read_reference(spec: Spec, stage: str, root: Path) -> Reference:
    """What the parent of a stage names. Raises PlanError where it names nothing."""
    target = spec.finetune[stage]
    text = target.parent or (PRETRAIN if spec.parent is None else spec.parent)
    where = f"finetune.{stage}.parent" if target.parent else "parent"
    name, _, selector = text.partition("@")
    chosen = selector or None
    if name in spec.stages:
        return Reference(RunFolder(root, spec.name, name), chosen, spec)
    if text.startswith(HUGGING_FACE):
        return Reference(RunFolder(root, IMPORTS, import_name(text)), None, None)
    if name.endswith(".toml"):
        path = Path(name).expanduser()
        if not path.is_file():
            raise PlanError(f"{where}: there is no {name} beside the spec, nor in {Path.cwd()}.")
        parent = load_spec(path).spec
        if PRETRAIN not in parent.stages and len(parent.stages) > 1:
            raise PlanError(
                f"{where}: {name} has several stages. Name the run: {parent.name}/{parent.stages[0]}, for instance."
            )
        return Reference(RunFolder(root, parent.name, parent.stages[0]), chosen, parent, path)
    try:
        run, found = parse_reference(text, root)
        require_run(run)
    except StoreError as error:
        stages = ", ".join(other for other in spec.stages if other != stage) or "none"
        raise PlanError(f"{where}: {error} Stages of this spec: {stages}.") from error
    return Reference(run, found, None)


def import_name(text: str) -> str:
    """The stage under which `hf:PATH` is imported: the last parts of the path, in the letters of a name."""
    path = text.removeprefix(HUGGING_FACE).rstrip("/")
    parts = Path(path).absolute().parts[-1:] if Path(path).expanduser().is_dir() else path.split("/")[-2:]
    name = re.sub(r"[^a-z0-9._-]+", "-", "--".join(parts).lower()).strip("-._")
    return name[:64] or "model"


def find_parent(
    spec: Spec,
    stage: str,
    *,
    root: Path,
    cache: Path | None = None,
    imports: Mapping[str, Plan] = NOTHING,
) -> Parent:
    """The parent of a fine-tune stage, from its run where there is one, else from its spec.

    Args:
        imports: Plans of models that are not imported yet, by their runs (`hf/NAME`).

    Raises PlanError for a parent that is neither.
    """
    if stage not in spec.finetune:
        raise PlanError(f'{spec.name} has no stage "{stage}". It has: {", ".join(spec.stages)}.')
    reference = read_reference(spec, stage, root)
    run = reference.run
    plan = imports.get(str(run)) or _plan_of(run)
    if reference.spec is not None:
        own = _plan_from_spec(reference.spec, run.stage, root, cache, imports)
        if plan is None or plan.fingerprint != own.fingerprint:
            plan = own  # `tk run` says what differs before it touches the run
    if plan is None:
        text = spec.finetune[stage].parent or spec.parent or ""
        hint = " It is imported by `tk import`." if text.startswith(HUGGING_FACE) else ""
        raise PlanError(f"the parent {run} has no plan that this version of tk reads.{hint}")
    return _parent(run, reference.selector, plan)


def _parent(run: RunFolder, selector: str | None, plan: Plan) -> Parent:
    checkpoint = find_parent_checkpoint(run, selector, plan.fingerprint)
    record = ParentRecord(
        run=str(run),
        selector=selector,
        fingerprint=plan.fingerprint,
        checkpoint=checkpoint.id if checkpoint else None,
        step=checkpoint.step if checkpoint else None,
        flops=_ancestry_flops(checkpoint) if checkpoint else None,
    )
    return Parent(
        record=record,
        architecture=plan.architecture,
        data=plan.data,
        task=plan.task.kind,
        vocab_size=plan.vocab_size,
        reads_unhidden=plan.origin is not None or getattr(plan.task, "replace", None) == "bert",
        data_fingerprint=plan.data_fingerprint,
    )


def _ancestry_flops(checkpoint: Checkpoint) -> float | None:
    """Spent on a checkpoint and all before it; None for an imported one, of which nobody knows."""
    flops = checkpoint.info.get("ancestry_flops", checkpoint.info.get("flops"))
    return None if flops is None else float(flops)


def find_parent_checkpoint(run: RunFolder, selector: str | None, fingerprint: str) -> Checkpoint | None:
    """The checkpoint that a parent's selector chooses; None where there is none, or it is of another plan."""
    if not run.exists():
        return None
    try:
        checkpoint = CheckpointStore(run).resolve(selector)
    except StoreError:
        return None
    return checkpoint if checkpoint.info.get("fingerprint", fingerprint) == fingerprint else None


def _plan_of(run: RunFolder) -> Plan | None:
    try:
        return Plan.model_validate_json(run.plan.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _plan_from_spec(
    spec: Spec, stage: str, root: Path, cache: Path | None, imports: Mapping[str, Plan]
) -> Plan:
    parent = None
    if stage != PRETRAIN:
        parent = find_parent(spec, stage, root=root, cache=cache, imports=imports)
    facts = known_facts(spec, stage, parent, cache=cache)
    return make_plan(spec, stage, machine=Machine.detect(), parent=parent, facts=facts)
