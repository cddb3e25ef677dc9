"""Documents out of files and pipes of zstd."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard

from lmfst.ground.errors import InputError
from lmfst.io import read_documents
from tests.io.test_documents import echo, ends, texts

__all__ = ["echo"]


def packed(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def test_zstd_is_recognised_and_the_inner_suffix_says_the_form(tmp_path: Path) -> None:
    for name, data in [
        ("a.txt.zst", b"one\ntwo"),
        ("a", b"one\ntwo"),
        ("a.jsonl.zst", b'{"text": "one"}\n{"text": "two"}'),
        ("a.csv.zst", b"text,b\none,1\ntwo,2\n"),
        ("a.FA.ZST", b">x\none\n>y\ntwo\n"),
    ]:
        (tmp_path / name).write_bytes(packed(data))
        assert texts(tmp_path / name) == [b"one", b"two"]


def test_frames_follow_each_other(tmp_path: Path) -> None:
    skippable = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"notes"
    data = os.urandom(3000).hex().encode()
    for parts in ([b"a\nb", b"c\n"], [b"", b"a", b""], [data[:4000], data[4000:]], [b"x"] * 300):
        path = tmp_path / "in.zst"
        path.write_bytes(skippable.join(map(packed, parts)))
        assert texts(path, "file") == [b"".join(parts)]


@pytest.mark.parametrize("keep", [4, 9, 700, -9, -1])
def test_damaged_zstd(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "in.zst"
    path.write_bytes(packed(os.urandom(2000) + b"\n")[:keep])
    with pytest.raises(InputError, match=r"in\.zst: expected complete zstd data: the file ends"):
        texts(path)


def test_zstd_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "in.zst"
    flipped = bytearray(zstandard.ZstdCompressor(write_checksum=True).compress(b"word " * 500))
    flipped[-1] ^= 255
    for content, message in [
        (b"", "the data don't begin as zstd does"),
        (b"plain\n", "the data don't begin as zstd does"),
        (packed(b"a\n") + b"tail of others", "Unknown frame descriptor"),
        (bytes(flipped), "checksum"),
    ]:
        path.write_bytes(content)
        with pytest.raises(InputError, match=rf"in\.zst: expected complete zstd data: .*{message}"):
            texts(path)


def test_text_that_begins_like_zstd(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    for content in (b"(", b"(\xb5", b"(\xb5/", b"(\xb5/x\n("):
        path.write_bytes(content)
        assert texts(path) == content.rstrip(b"\n").split(b"\n")


def test_each_line_passes_through_zstd_as_it_arrives(echo: subprocess.Popen[bytes]) -> None:
    source, rows = ends(echo)
    packer = zstandard.ZstdCompressor().compressobj()
    for number in range(1, 4):
        data = packer.compress(b"line\n") + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        source.write(data)
        source.flush()
        if number == 1:
            assert rows.readline() == b"id\ttext\n"
        assert rows.readline() == b"%d\tline\n" % number
    out, err = echo.communicate(packer.flush())
    assert (out, err, echo.returncode) == (b"", b"", 0)


def test_a_small_file_that_unpacks_to_much_is_not_held(tmp_path: Path) -> None:
    path = tmp_path / "in.zst"
    path.write_bytes(packed(b"x" * 300_000_000))
    code = (
        "import resource, sys\n"
        "from lmfst.io import read_corpus\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "(found,) = read_corpus(sys.argv[1])\n"
        "print(found.reason, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    reason, grown = done.stdout.split()
    assert reason == "too_long" and int(grown) < 90_000  # KiB


def test_the_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "in.zst"
    path.write_bytes(packed(b"a\n"))
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(InputError, match=r"zstandard.*\n.*pip install lmfst\[zstd\]"):
        list(read_documents(str(path)))
