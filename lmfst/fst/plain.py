"""Text files that aren't documents (grammars, symbol tables, FSTs as text): marks and line ends.

LF ends a line, and readers drop the CR of CRLF themselves. What an editor may have done otherwise
is undone here and said, since it would be read as part of a name, or the whole file as one line.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable

from lmfst.ground.errors import FstError

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def plain_text(
    data: bytes,
    name: str,
    warn: Callable[[str], None],
    error: Callable[..., Exception] = FstError,
) -> bytes:
    """The bytes of a text file without a byte-order mark, and with LF where CR alone ends lines.

    name: what messages call the file. warn: told what was changed. error: the class of what is
    raised for UTF-16, as for `FstError`.
    """
    if data.startswith(_UTF16):
        raise error(
            f"{name}: expected UTF-8 text, found the byte-order mark of UTF-16",
            hint="convert it, for instance with: iconv -f UTF-16 -t UTF-8",
        )
    if data.startswith(codecs.BOM_UTF8):
        warn(f"{name}: begins with a UTF-8 byte-order mark, which is left out")
        data = data.removeprefix(codecs.BOM_UTF8)
    if b"\r" in data and b"\n" not in data:
        warn(
            f"{name}: its lines end in CR alone, as on old Macs; each CR is read as the end of a "
            "line (LF)"
        )
        data = data.replace(b"\r", b"\n")
    return data
