"""A plan in words, for terminals: labels and values, one row a fact."""

from toolkit.plan.plan import Plan


def plan_rows(plan: Plan) -> list[tuple[str, str]]:
    """What will be trained, how long, and what it takes."""
    return [("run", f"{plan.name}/{plan.stage}"), ("parameters", f"{plan.parameters.total:,}")]
