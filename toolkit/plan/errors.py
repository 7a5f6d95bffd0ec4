"""What stops a plan from being made."""


class PlanError(Exception):
    """A plan can't be made from this spec; the message names the key and the way out."""
