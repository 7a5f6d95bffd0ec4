"""What the sections allow: the type behind each key path, in words and as a stand-in value."""

from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from toolkit.spec.duration import Quantity
from toolkit.spec.errors import listing, shown
from toolkit.spec.positions import Path
from toolkit.spec.section import Allowed, Section
from toolkit.spec.spec import Spec

_WORDS = {str: "text in quotes", bool: "true or false", int: "a whole number", float: "a number"}


class Type(NamedTuple):
    """A type with its bounds, `None` and `Annotated` taken off. `hint` is None below an unknown key."""

    hint: Any
    metadata: tuple[Any, ...] = ()
    field: FieldInfo | None = None

    @property
    def sections(self) -> tuple[type[Section], ...]:
        """The sections that a table here may be; several where `kind` chooses."""
        options = get_args(self.hint) if _is_union(self.hint) else (self.hint,)
        return tuple(option for option in options if isinstance(option, type) and issubclass(option, Section))

    @property
    def choices(self) -> tuple[str, ...]:
        """The values of a Literal."""
        return get_args(self.hint) if get_origin(self.hint) is Literal else ()


def type_at(root: type[Section], loc: Path) -> tuple[Path, Type]:
    """The key path and the type at an error location of Pydantic, whose steps include tags of unions."""
    path: Path = ()
    found = Type(root)
    for step in loc:
        if len(found.sections) > 1:
            found = Type(section_of_kind(found, str(step)))
            continue
        if _is_union(found.hint) and not isinstance(step, int):
            continue  # the name of a plain type
        path += (step,)
        found = _below(found, step)
    return path, found


def _below(parent: Type, step: str | int) -> Type:
    if parent.sections:
        field = parent.sections[0].model_fields.get(str(step))
        return bare(field.annotation, tuple(field.metadata), field) if field else Type(None)
    arguments = get_args(parent.hint)
    if get_origin(parent.hint) is tuple and isinstance(step, int):
        return bare(arguments[0 if arguments[-1] is Ellipsis else min(step, len(arguments) - 1)])
    if get_origin(parent.hint) is Mapping:
        return bare(arguments[1])
    return Type(None)


def bare(hint: Any, metadata: tuple[Any, ...] = (), field: FieldInfo | None = None) -> Type:
    """Take `Annotated` and `| None` off a type hint; keep what constrains it."""
    if get_origin(hint) is Annotated:
        hint, *extra = get_args(hint)
        for item in extra:
            metadata += tuple(item.metadata) if isinstance(item, FieldInfo) else (item,)
        return bare(hint, metadata, field)
    if _is_union(hint):
        options = [option for option in get_args(hint) if option is not NoneType]
        if len(options) == 1:
            return bare(options[0], metadata, field)
        hint = Union[tuple(options)]  # noqa: UP007 - the members are known at run time only
    return Type(hint, metadata, field)


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, UnionType)


def kind_of(section: type[Section]) -> str:
    """The value of `kind` that chooses this section."""
    field = section.model_fields.get("kind")
    return str(get_args(field.annotation)[0]) if field else ""


def section_of_kind(choice: Type, kind: str) -> type[Section] | None:
    """The member of a union that `kind` chooses."""
    return next((section for section in choice.sections if kind_of(section) == kind), None)


def known_keys(section: type[Section]) -> tuple[str, ...]:
    """The keys that a table of a file may hold."""
    return (*section.model_fields, "extends") if section is Spec else tuple(section.model_fields)


def key_paths(section: type[Section], prefix: str = "") -> Iterator[str]:
    """Every dotted key that a table may hold, kinds included, lists excluded; NAME is the user's choice."""
    for name, field in section.model_fields.items():
        yield prefix + name
        found = bare(field.annotation)
        named = get_origin(found.hint) is Mapping
        for inner in _below(found, "").sections if named else found.sections:
            yield from key_paths(inner, f"{prefix}{name}.NAME." if named else f"{prefix}{name}.")


def allowed(found: Type) -> str:
    """What may stand here, in words: `a whole number from 1 to 1024`."""
    for item in found.metadata:
        if isinstance(item, Allowed):
            return item.words
    if found.sections:
        kinds = [kind for kind in map(kind_of, found.sections) if kind]
        return f"a table with kind = {listing(map(shown, kinds))}" if kinds else "a table"
    if found.choices:
        return listing(map(shown, found.choices))
    if get_origin(found.hint) is tuple:
        return _allowed_list(found)
    if isinstance(found.hint, type) and issubclass(found.hint, Quantity):
        return f"a number and a unit in quotes, like {found.hint.examples()}"
    return f"{_WORDS.get(found.hint, 'another value')}{_bounds(found)}"


def _allowed_list(found: Type) -> str:
    first, *rest = get_args(found.hint)
    if rest and rest[-1] is not Ellipsis:
        return f"a list of {len(rest) + 1} values, each {allowed(bare(first))}"
    return f"a list of {allowed(bare(first)).removeprefix('a ').replace('table', 'tables', 1)}"


def _bounds(found: Type) -> str:
    bounds = {
        name: getattr(item, name)
        for item in found.metadata
        for name in ("ge", "gt", "le", "lt")
        if hasattr(item, name)
    }
    if bounds.keys() == {"ge", "le"}:
        return f" from {bounds['ge']} to {bounds['le']}"
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    parts = [f"{words[name]} {bounds[name]}" for name in words if name in bounds]
    return f" {listing(parts, 'and')}" if parts else ""


def stand_in(found: Type) -> Any:
    """A valid value for a required key, so that checks can go on past a mistake."""
    if found.sections:
        fields = found.sections[0].model_fields.items()
        return {
            name: stand_in(bare(field.annotation, tuple(field.metadata)))
            for name, field in fields
            if field.is_required()
        }
    if found.choices:
        return found.choices[0]
    if isinstance(found.hint, type) and issubclass(found.hint, Quantity):
        return f"1M {found.hint.units[0]}"
    return {str: "x", bool: True, int: 1, float: 1.0}.get(found.hint, ())
