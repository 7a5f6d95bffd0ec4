"""A Jinja template that writes conversations, run in a process of its own with little memory and time.

Jinja's sandbox keeps a template from files and code, but not from `'a' * 10**10`. This file is that process's program
too, and so stands on Jinja alone.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

LARGEST = 1 << 20
"""Characters that a template may write: one that goes on is stopped."""
MEMORY = 512 << 20
"""Bytes of address space that its process gets."""
SECONDS = 2
"""Processor time for one conversation."""
BEGIN, END = "\ue000", "\ue001"
"""Stand around what `{% generation %}` encloses."""


class Template(NamedTuple):
    """A template and the tokens that it may name."""

    text: str
    bos_token: str
    eos_token: str


def render(template: Template, compiled: Any, messages: Sequence[Mapping[str, Any]], ask: bool) -> str:
    """The conversation as a text. Raises ValueError, in words, for what the template may not or can't do."""
    from jinja2 import TemplateError
    from jinja2.exceptions import SecurityError, TemplateSyntaxError

    try:
        pieces: list[str] = []
        size = 0
        compiled = compiled or compile_template(template.text)
        for piece in compiled.generate(
            messages=[dict(message) for message in messages],
            add_generation_prompt=ask,
            bos_token=template.bos_token,
            eos_token=template.eos_token,
        ):
            pieces.append(piece)
            size += len(piece)
            if size > LARGEST:
                raise ValueError(f"the chat template writes more than {LARGEST:,} characters")
        return "".join(pieces)
    except SecurityError as error:
        raise ValueError(
            f"the chat template reaches outside its messages: {error} Take that out of the template."
        ) from error
    except TemplateSyntaxError as error:
        raise ValueError(f"the chat template, line {error.lineno}: {error.message}") from error
    except TemplateError as error:
        raise ValueError(f"the chat template refuses: {error.message}") from error
    except MemoryError:
        raise ValueError(f"the chat template takes more than {MEMORY >> 20} MiB of memory") from None
    except ValueError as error:
        text = str(error)
        raise ValueError(
            text if text.startswith("the chat") else f"the chat template fails: {text}"
        ) from error
    except (TypeError, AttributeError, LookupError, ArithmeticError, RecursionError, SyntaxError) as error:
        if "no loader" in str(error):
            raise ValueError(
                "the chat template reaches for a file. A template stands alone: write what it includes into it."
            ) from error
        raise ValueError(f"the chat template fails: {error}") from error


def compile_template(text: str) -> Any:
    """In Jinja's immutable sandbox, with what `transformers` gives a template."""
    from jinja2 import nodes
    from jinja2.exceptions import SecurityError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Sandbox(ImmutableSandboxedEnvironment):
        """Says at once what is refused, where Jinja would write nothing."""

        def unsafe_undefined(self, obj: Any, attribute: str) -> Any:
            raise SecurityError(
                f"access to attribute {attribute!r} of {type(obj).__name__!r} object is unsafe."
            )

    class Generation(Extension):
        """`{% generation %} … {% endgeneration %}` encloses what the assistant writes."""

        tags = {"generation"}  # noqa: RUF012 - as Jinja declares it

        def parse(self, parser: Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.CallBlock(self.call_method("_enclose"), [], [], body).set_lineno(line)

        def _enclose(self, caller: Any) -> str:
            return f"{BEGIN}{caller()}{END}"

    environment = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation])
    environment.globals |= {"raise_exception": _refuse, "strftime_now": _today}
    environment.filters["tojson"] = _to_json
    return environment.from_string(text)


def _refuse(message: str) -> None:
    from jinja2 import TemplateError

    raise TemplateError(message)


def _today(form: str) -> str:
    from datetime import datetime

    return datetime.now().strftime(form)


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


class Renderer:
    """Renders a template in its own process, which lives as long as this object does."""

    def __init__(self, template: Template) -> None:
        self._template = template

    def render(self, messages: Sequence[Mapping[str, Any]], ask: bool) -> str:
        """Raises ValueError, in words, for what the template may not or can't do, memory and time included."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        answer = ""
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps([list(messages), ask], default=str) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        if not answer.endswith("\n"):
            self.close()
            raise ValueError(
                f"the chat template takes more than {SECONDS} seconds, or {MEMORY >> 20} MiB of memory, for one "
                "conversation. Mend what it repeats."
            )
        text, error = json.loads(answer)
        if error is not None:
            raise ValueError(error)
        return str(text)

    def close(self) -> None:
        process = self.__dict__.pop("_process", None)
        if process is not None:
            process.kill()
            process.communicate()

    def __del__(self) -> None:
        self.close()

    @cached_property
    def _process(self) -> "subprocess.Popen[str]":
        # Not with the file's folder on its path, where other files have names of the standard library's.
        process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="ascii",
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(self._template) + "\n")
        return process


def main() -> None:
    """The process: a template, then conversations, one a line; to each a text or what is wrong."""
    import jinja2.sandbox  # noqa: F401 - before the limits, so that they are the template's alone

    with suppress(ImportError, OSError, ValueError):  # not every system has them
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # An interrupt is for the process that asks, which ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    template = Template(*json.loads(sys.stdin.readline()))
    compiled = None
    for line in sys.stdin:
        messages, ask = json.loads(line)
        _limit(SECONDS)
        text, error = None, None
        try:
            compiled = compiled or _compiled(template)
            text = render(template, compiled, messages, ask)
        except ValueError as found:
            error = str(found)[:2000]
        _limit(0)
        sys.stdout.write(json.dumps([text, error]) + "\n")
        sys.stdout.flush()


def _compiled(template: Template) -> Any:
    """None for one that `render` will refuse."""
    try:
        return compile_template(template.text)
    except Exception:  # noqa: BLE001 - compiled again there, where it is told in words
        return None


def _limit(seconds: int) -> None:
    """End this process once it has computed for so long; 0 for never."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


if __name__ == "__main__":
    main()
