"""`tk lineage`: which run came from which, and what the whole ancestry took."""

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolkit.cli.options import Json, Runs

if TYPE_CHECKING:
    from pathlib import Path

    from toolkit.store.lineage import Ancestor, Graph, Node

FEW = 8
"""Runs of one name under one parent that are drawn before the rest is only counted."""


def lineage(
    what: Annotated[
        str | None,
        typer.Argument(metavar="[RUN|CHECKPOINT]", help="A run, a run's @CHECKPOINT, or the id of one."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Draw every run, also where there are many.")] = False,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Draw which run came from which, with scores and costs.

    The last column is what it took together with all that it comes from. For a checkpoint: its full history,
    nearest first. Runs are found by their checkpoints, wherever their folders were moved or copied; an ancestor
    that is missing is named.

    \b
    Examples:
      tk lineage
      tk lineage gpt_small/coder
      tk lineage gpt_small/coder@best --json
    """
    from toolkit.cli.output import say, say_json
    from toolkit.store.lineage import history, read_graph
    from toolkit.store.runs import runs_root

    root = runs_root(runs)
    checkpoint = None if what is None else _checkpoint(what, root)
    if checkpoint is not None:
        found = history(root, checkpoint)
        if as_json:
            say_json([_ancestor_fields(item) for item in found])
        else:
            _print_history(found)
        return
    graph = read_graph(root)
    top = None if what is None else _run(what, root, graph)
    if as_json:
        shown = [node for node, _ in graph.walk(top)]
        above = [] if top is None else graph.above(top)
        say_json([_node_fields(node) for node in [*above, *shown]])
    elif not graph.nodes:
        say(f"No runs in {root} yet: `tk run SPEC` begins one.")
    else:
        _print_tree(graph, top, every)


def _checkpoint(text: str, root: "Path") -> str | None:
    """The id of the checkpoint that is meant; None for a run."""
    from toolkit.store.checkpoints import find_checkpoint
    from toolkit.store.errors import UnknownCheckpoint
    from toolkit.store.lineage import find_id
    from toolkit.store.runs import parse_reference

    if "@" in text:
        run, selector = parse_reference(text, root)
        digits = re.fullmatch(r"[0-9a-f]{8,64}", selector or "")
        # One that was removed is known by its id alone.
        removed = find_id(root, digits[0]) if digits and run.exists() else None
        return removed or find_checkpoint(text, root)[1].id
    if not re.fullmatch(r"[0-9a-f]{8,64}", text) or parse_reference(text, root)[0].exists():
        return None
    found = find_id(root, text)
    if found is None:
        raise UnknownCheckpoint(f"no checkpoint {text} in {root}. `tk show RUN` lists a run's.")
    return found


def _run(text: str, root: "Path", graph: "Graph") -> str:
    from toolkit.store.runs import open_run

    return text if text in graph.nodes else str(open_run(root, text))


def _print_tree(graph: "Graph", top: str | None, every: bool) -> None:
    from toolkit.cli.output import number, say_table

    rows: list[list[str]] = []

    def add(node: "Node", lead: str, below: str, *, whole: bool) -> None:
        best = node.best
        score = f"{best.metric.removeprefix('val/')} {number(best.value)}" if best else "-"
        rows.append([lead + _name(node), score, *_cost(node.own), _cost(node.ancestry)[0]])
        if not whole:
            return
        children, left = _few(graph.children(node.key), every)
        for place, child in enumerate(children):
            last = place == len(children) - 1 and not left
            add(child, below + ("└ " if last else "├ "), below + ("  " if last else "│ "), whole=True)
        for place, (name, count) in enumerate(left.items()):
            mark = "└ " if place == len(left) - 1 else "├ "
            rows.append([f"{below}{mark}{name}/… {count} more: --all", "", "", "", ""])

    if top is None:
        for root in graph.roots:
            add(root, "", "", whole=True)
    else:
        line = [*graph.above(top), graph.nodes[top]]
        for depth, node in enumerate(line):
            lead = "  " * (depth - 1) + "└ " if depth else ""
            add(node, lead, "  " * depth, whole=node is line[-1])
    say_table(["RUN", "BEST", "FLOP", "TIME", "WITH ANCESTRY"], rows, right=(2, 3, 4))


def _few(children: "list[Node]", every: bool) -> "tuple[list[Node], dict[str, int]]":
    """The children to draw, and how many more there are by the name of their runs."""
    names = [node.key.partition("/")[0] for node in children]
    crowds = {} if every else {name: names.count(name) for name in names if names.count(name) > FEW}
    shown = [node for node, name in zip(children, names, strict=True) if name not in crowds]
    return shown, crowds


def _name(node: "Node") -> str:
    step = node.origin.step if node.origin and node.run else None
    parts = [node.key]
    if node.run is None:
        parts.append("missing")
    elif node.origin is not None:
        parts.append(
            "from scratch" if node.origin.role == "shape" else f"@{step if step is not None else '?'}"
        )
    if node.copy_of:
        parts.append(f"copy of {node.copy_of}")
    elif node.born_as:
        parts.append(f"was {node.born_as}")
    return " ".join(parts)


def _cost(cost: Any) -> list[str]:
    from toolkit.plan.figures import flop, length_of_time

    return [
        "?" if cost.flops is None else flop(cost.flops),
        "?" if cost.seconds is None else length_of_time(cost.seconds),
    ]


def _print_history(found: "list[Ancestor]") -> None:
    from toolkit.cli.output import number, say, say_table
    from toolkit.plan.figures import flop, length_of_time
    from toolkit.store.retention import criterion

    rows = []
    for item in found:
        if item.checkpoint is None:
            where = str(item.origin) if item.origin else item.id[:12]
            rows.append([item.role, f"missing: {where}", item.id[:12], "", "", ""])
            continue
        info = item.checkpoint.info
        metric, _ = criterion([item.checkpoint])
        value = item.checkpoint.metrics.get(metric)
        rows.append(
            [
                item.role,
                f"{item.run} step {item.checkpoint.step}" + ("" if item.kept else " (removed)"),
                item.id[:12],
                "-" if value is None else f"{metric.removeprefix('val/')} {number(value)}",
                flop(float(info["flops"])) if "flops" in info else "?",
                length_of_time(float(info["seconds"])) if "seconds" in info else "?",
            ]
        )
    say_table(["ROLE", "CHECKPOINT", "ID", "SCORE", "FLOP", "TIME"], rows, right=(4, 5))
    for item in found:
        if item.checkpoint is None:
            say(f"{item.origin or item.id} is not here: copy its run's folder into the runs folder.")


def _node_fields(node: "Node") -> dict[str, Any]:
    return {
        "run": node.key,
        "path": str(node.run.path) if node.run else None,
        "missing": node.run is None,
        "parent": node.parent,
        "origin": vars(node.origin) if node.origin else None,
        "state": node.state,
        "task": node.task,
        "best": node.best.model_dump() if node.best else None,
        "step": node.step,
        "checkpoint": node.checkpoint,
        "cost": vars(node.own),
        "ancestry_cost": vars(node.ancestry),
        "born_as": node.born_as,
        "copy_of": node.copy_of,
    }


def _ancestor_fields(item: "Ancestor") -> dict[str, Any]:
    checkpoint = item.checkpoint
    return {
        "id": item.id,
        "role": item.role,
        "depth": item.depth,
        "run": str(item.run) if item.run else None,
        "missing": checkpoint is None,
        "kept": item.kept,
        "step": checkpoint.step if checkpoint else item.origin.step if item.origin else None,
        "path": str(checkpoint.path) if checkpoint and item.kept else None,
        "parents": [vars(parent) for parent in checkpoint.parents] if checkpoint else None,
        "info": dict(checkpoint.info) if checkpoint else None,
        "origin": vars(item.origin) if item.origin else None,
    }
