"""HTML made of elements. Whatever is not an element already is text, and escaped.

Data never become markup or code: a text becomes `Html` in this module alone.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence

_UNSHOWN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
"""Control characters, also those that turn the direction of what follows, and lone surrogates."""
_EMPTY = {"meta", "br"}
_LEAVES = {"rect", "line"}
"""Elements of SVG without content, which close themselves."""


class Html(str):
    """Markup, in which all text is escaped."""

    __slots__ = ()


Content = str | int | Sequence["Content"]


def e(name: str, attributes: Mapping[str, str | int] | None = None, *content: Content) -> Html:
    """An element. content: elements, and texts, which are escaped."""
    given = "".join(f' {key}="{_text(str(value))}"' for key, value in (attributes or {}).items())
    if name in _EMPTY:
        return Html(f"<{name}{given}>")
    if name in _LEAVES:
        return Html(f"<{name}{given}/>")
    return Html(f"<{name}{given}>{inner(content)}</{name}>")


def inner(content: Content) -> Html:
    """Several elements and texts as one."""
    if isinstance(content, Html):
        return content
    if isinstance(content, str | int):
        return Html(_text(str(content)))
    return Html("".join(map(inner, content)))


def data(text: str, longest: int = 200) -> Html:
    """A text of the user's, apart from what stands around it in its direction, too."""
    return e("bdi", {}, cut(text, longest))


def style(text: str) -> Html:
    """A style sheet of lmfst's own."""
    return Html(f"<style>{text}</style>")


def script(text: str) -> Html:
    """A script of lmfst's own."""
    return Html(f"<script>{text}</script>")


def script_data(name: str, value: object) -> Html:
    """JSON for a script, which finds it under the id `name`. It is no code."""
    return Html(f'<script type="application/json" id="{_text(name)}">{script_json(value)}</script>')


def bytes_on_page(text: str) -> int:
    """How many bytes a text has in `script_json`, but for control characters."""
    marks = text.count("<") + text.count(">") + text.count("&")
    return len(text.encode("utf-8", "surrogatepass")) + 5 * marks


def script_json(value: object) -> str:
    """JSON in which nothing can end a script, or a line of it."""
    found = json.dumps(_shown(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for char in "<>&\u2028\u2029":
        found = found.replace(char, f"\\u{ord(char):04x}")
    return found


def clean(text: str) -> str:
    r"""A text with what can't be shown, or isn't allowed in HTML, as \xNN or \uNNNN."""
    return _UNSHOWN.sub(_escape, text)


def cut(text: str, longest: int) -> str:
    """A text of so many characters at most."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _text(text: str) -> str:
    return html.escape(clean(text))


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _shown(value: object) -> object:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {key: _shown(item) for key, item in value.items()}
    return [_shown(item) for item in value] if isinstance(value, list | tuple) else value
