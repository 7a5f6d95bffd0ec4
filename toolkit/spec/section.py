"""The base of every section: unknown keys are errors, values are frozen, docstrings are descriptions."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """One table of a spec. Field docstrings become the descriptions in the JSON schema and in `tk new`."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        validate_default=True,
    )
