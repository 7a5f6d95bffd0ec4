"""Templates render as `transformers` renders them, tell answers from the rest, and reach nothing."""

import datetime
import re

import pytest

from tests.targets.conftest import CHATML
from toolkit.spec.chat_template import DEFAULT_TEMPLATE, ChatTemplate

TALK = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hello {{ 7 * 7 }}"},
    {"role": "assistant", "content": "Hi."},
    {"role": "user", "content": "Bye"},
    {"role": "assistant", "content": "Bye.\n\nBye."},
]
TRIMMED = (
    "{{ bos_token }}{% for m in messages %}\n    {% if m.role == 'user' %}\n[INST] {{ m.content | trim }} [/INST]"
    "{% elif m.role == 'assistant' %}\n {{ m.content | trim }}{{ eos_token }}\n    {% endif %}\n{% endfor %}"
)
FORGETFUL = (
    "{% for m in messages %}{% if m.role == 'assistant' and loop.last %}A: (thinks) {{ m.content }}\n"
    "{% else %}{{ m.role[0] | upper }}: {{ m.content }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}A: {% endif %}"
)
MARKED = (
    "{% for m in messages %}{% if m.role == 'assistant' %}A: {% generation %}{{ m.content }}|{% endgeneration %}"
    "{% else %}Q: {{ m.content }} {% endif %}{% endfor %}{% if add_generation_prompt %}A: {% endif %}"
)


@pytest.mark.parametrize("template", [DEFAULT_TEMPLATE, CHATML, TRIMMED, FORGETFUL])
@pytest.mark.parametrize("ask", [False, True])
def test_a_rendering_is_that_of_transformers(template: str, ask: bool) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    talk = TALK[:-1] if ask else TALK
    expected, _ = render_jinja_template(
        [talk], chat_template=template, add_generation_prompt=ask, bos_token="<e>", eos_token="<e>"
    )
    parts = ChatTemplate(template, "<e>").segments(talk, ask=ask)
    assert "".join(part.text for part in parts) == expected[0]


@pytest.mark.parametrize(
    ("template", "answers"),
    [
        (DEFAULT_TEMPLATE, ["Hi.<e>", "Bye.\n\nBye.<e>"]),
        (CHATML, ["Hi.<|im_end|>\n", "Bye.\n\nBye.<|im_end|>\n"]),
        (MARKED, ["Hi.|", "Bye.\n\nBye.|"]),
        # It writes earlier answers otherwise: only the last is known to be what was asked for.
        (FORGETFUL, ["(thinks) Bye.\n\nBye.\n"]),
    ],
)
def test_answers_are_what_the_assistant_says(template: str, answers: list[str]) -> None:
    parts = ChatTemplate(template, "<e>").segments(TALK)
    assert [part.text for part in parts if part.answer] == answers


def test_a_prompt_is_the_beginning_of_the_row_that_it_was_learned_from() -> None:
    for template in (DEFAULT_TEMPLATE, CHATML, TRIMMED, MARKED):
        made = ChatTemplate(template, "<e>")
        asked = "".join(part.text for part in made.segments(TALK[:-1], ask=True))
        row = made.segments(TALK)
        assert "".join(part.text for part in row if part is not row[-1]) == asked


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% include '/etc/passwd' %}", "reaches for a file"),
        ("{% import 'os' as os %}{{ os }}", "reaches for a file"),
        ("{{ ''.__class__.__mro__ }}", "reaches outside its messages: access to attribute '__class__'"),
        ("{{ messages.append(1) }}", "reaches outside its messages"),
        ("{{ cycler.__init__.__globals__ }}", "reaches outside its messages"),
        ("{% for i in range(10**9) %}x{% endfor %}", "Range too big"),
        (
            "{% for i in range(9999) %}{% for i in range(9999) %}{{ i }}{% endfor %}{% endfor %}",
            "more than 1,048,576",
        ),
        ("{{ nothing.at_all }}", "refuses: 'nothing' is undefined"),
        ("{{ raise_exception('No.') }}", "refuses: No."),
        ("{% for m in messages %}", "line 1: Unexpected end of template"),
        ("{{ 1 / 0 }}", "fails: division by zero"),
        ("{{ 'a' * 10**10 }}", "512 MiB of memory"),
        ("{{ [1] * 10**9 }}", "512 MiB of memory"),
        ("{{ '%1000000000d' % 1 }}", "512 MiB of memory"),
        ("{{ 'x' | center(10**9) }}", "512 MiB of memory"),
        ("{{ ('x' * 10**6).replace('x', 'y' * 10**4) }}", "512 MiB of memory"),
        (
            "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
            "512 MiB",
        ),
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "2 seconds"),
        ("{{ 2**(2**31) }}", "takes more than"),
        ("{{ messages | tojson(indent=10**7) }}", "more than 1,048,576"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "fails: maximum recursion depth"),
        ("{{ 'ab' | wordwrap(0) }}", "fails: invalid width 0"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "fails: "),
        ("{{ 'a'.encode('idna') }}{{ 'a'.format_map({}) }}{{ '\ud800' }}", "leaves the assistant's"),
        ("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}", "leaves the assistant's"),
    ],
)
def test_what_a_template_may_not_do_is_said(template: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        ChatTemplate(template).check()


def test_a_template_knows_the_day() -> None:
    (part,) = ChatTemplate("{{ strftime_now('%Y') }}").segments([{"role": "user", "content": ""}])
    assert part.text == str(datetime.date.today().year)
