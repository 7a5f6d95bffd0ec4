"""The JSON schema of a spec, for editors that complete and check TOML (`#:schema`)."""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from toolkit.spec.spec import PRETRAINING, Spec


class _Generator(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: object) -> bool:
        return False


def json_schema() -> dict[str, Any]:
    """The schema of a spec file: that of `Spec`, and `extends`.

    A file that extends another may leave required keys to it. So keys of the root are required only without
    `extends`, and keys of the tables below it, which are merged, are left to the loader. A spec with a parent
    needs no pretraining.
    """
    schema = Spec.model_json_schema(schema_generator=_Generator)
    required = [*schema.pop("required"), *PRETRAINING]
    for name in required:
        options = [schema["properties"][name], *schema["properties"][name].get("anyOf", ())]
        for option in options:
            schema["$defs"].get(option.get("$ref", "").removeprefix("#/$defs/"), {}).pop("required", None)
    extends = {"type": "string", "description": "A spec to start from, relative to this file."}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **schema,
        "properties": {"extends": extends, **schema["properties"]},
        "anyOf": [{"required": required}, {"required": ["extends"]}, {"required": ["name", "parent"]}],
    }
