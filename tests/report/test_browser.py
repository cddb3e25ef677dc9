"""The page in a browser, where there is one: its script runs, values come by keyboard and by
pointer, and nothing that came from data does."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lmfst.report import findings, page
from tests.support.outputs import document, write

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
]
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--virtual-time-budget=3000",
]


def made(folder: Path, *outputs: Path) -> Path:
    path = folder / "page.html"
    path.write_bytes(page(findings([*map(str, outputs)], None, print)))
    return path


def dom(path: Path, folder: Path, act: str = "", *options: str) -> str:
    """The page after its script has run. act: a script of the test's own that runs then; the
    page's policy, which would stop it, is taken off for it."""
    text = path.read_text()
    if act:
        text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
        text = text.replace("</body>", f"<script>{act}</script></body>")
    path.write_text(text)
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            CHROMIUM,
            *QUIET,
            *options,
            f"--user-data-dir={folder / 'profile'}",
            "--enable-logging=stderr",
            "--dump-dom",
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr, done.stderr
    return done.stdout


def one(folder: Path) -> Path:
    rows = [
        *document("first", [("The", 5.0), (" cat", 9.25), ("\\n", 1.0)], missing=[0.5]),
        *document("second", [("x", 3.0)]),
    ]
    return write(folder / "o.tsv", rows)


def said(text: str) -> str:
    """What the test's script has noted."""
    (found,) = re.findall(r'<p id="noted">(.*?)</p>', text, re.DOTALL)
    return found


NOTE = """
const noted = document.createElement("p");
noted.id = "noted";
const info = () => document.querySelector(".info").textContent;
const press = (key) => document.activeElement.dispatchEvent(
  new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
const lines = [];
%s
noted.textContent = lines.join(" | ");
document.body.append(noted);
"""


def test_documents_are_shown_under_the_page_s_own_policy(tmp_path: Path) -> None:
    text = dom(made(tmp_path, one(tmp_path)), tmp_path)
    spans = re.findall(r'<span class="(h\d)" tabindex="(-?\d)" data-at="(\d+)">(.*?)</span>', text)
    assert [(tab, at, unit) for _, tab, at, unit in spans] == [
        ("0", "0", "The"),
        ("-1", "1", " cat"),
        ("-1", "2", "\\n"),
        ("-1", "3", "⊥"),
    ]
    assert spans[1][0] > spans[0][0] > spans[2][0]
    assert '<option value="1">second</option>' in text and "<polyline" in text
    assert "disabled" not in text.split("<body>")[1].split("<script")[0]


def test_values_come_by_keyboard_and_by_pointer(tmp_path: Path) -> None:
    act = (
        NOTE
        % """
document.querySelector(".text span").focus();
lines.push(info());
press("ArrowRight");
lines.push(document.activeElement.textContent, info());
press("End");
lines.push(info());
press("Home");
lines.push(document.activeElement.textContent);
document.querySelectorAll(".text span")[1].dispatchEvent(
  new MouseEvent("mouseover", {bubbles: true}));
lines.push(info());
document.querySelector("details").open = true;
document.querySelector("#pick").value = "1";
document.querySelector("#pick").dispatchEvent(new Event("change"));
lines.push(document.querySelector("#reader h3").textContent);
document.querySelector('button[data-doc="0"][data-unit="1"]').click();
lines.push(document.activeElement.textContent, info());
"""
    )
    noted = said(dom(made(tmp_path, one(tmp_path)), tmp_path, act)).split(" | ")
    assert noted == [
        "“The”, unit 1 of 3 · 5.00 bits · probability 0.0313 · missing 0.5 nats",
        " cat",
        "“ cat”, unit 2 of 3 · 9.25 bits · probability 0.00164 · missing 0 nats",
        "the end ⊥, after 3 units · 1.00 bits · probability 0.500 · missing 0 nats",
        "The",
        "“ cat”, unit 2 of 3 · 9.25 bits · probability 0.00164 · missing 0 nats",
        "second",
        " cat",
        "“ cat”, unit 2 of 3 · 9.25 bits · probability 0.00164 · missing 0 nats",
    ]


def test_two_outputs_stand_side_by_side(tmp_path: Path) -> None:
    first = write(tmp_path / "a.tsv", document("d", [("x", 1.0), ("y", 5.0)]))
    second = write(tmp_path / "b.tsv", document("d", [("x", 4.0), ("y", 2.0)]))
    act = (
        NOTE
        % """
lines.push(document.querySelectorAll(".panel").length);
lines.push(document.querySelectorAll("polyline.la, polyline.lb").length);
document.querySelectorAll(".panel")[2].querySelector("span").focus();
lines.push(info(), document.querySelectorAll("span.on").length);
"""
    )
    text = dom(made(tmp_path, first, second), tmp_path, act)
    noted = said(text).split(" | ")
    # The lines of the distribution and of the document.
    assert noted[:2] == ["3", "3"]
    assert noted[2] == "“x”, unit 1 of 2 · A 1.00 bits, B 4.00 bits · difference +3.00 bits"
    assert noted[3] == "3"
    leaning = re.findall(r'<span class="([ab]\d|)(?: on)?" tabindex="-?\d" data-at="\d"', text)
    assert [name[:1] for name in leaning] == ["a", "b", ""]


def test_nothing_of_data_runs(tmp_path: Path) -> None:
    nasty = [
        "</script><script>document.title='run'</script>",
        "<img src=x onerror=\"document.title='run'\">",
        "<svg onload=\"document.title='run'\">",
    ]
    rows = [row for text in nasty for row in document(text, [(text, 5.0), ("x", 1.0)])]
    path = made(tmp_path, write(tmp_path / "o.tsv", rows))
    act = (
        NOTE
        % """
for (const at of [1, 2, 0]) {
  document.querySelector("#pick").value = String(at);
  document.querySelector("#pick").dispatchEvent(new Event("change"));
  document.querySelector(".text span").focus();
}
lines.push(document.title, document.querySelectorAll("img, iframe").length);
"""
    )
    assert said(dom(path, tmp_path, act)) == "Surprisal: o.tsv | 0"


def test_zero_and_estimates_above_one_are_told_apart(tmp_path: Path) -> None:
    rows = document("d", [("x", -0.25), ("y", float("inf"))], float("inf"))
    act = (
        NOTE
        % """
document.querySelector(".text span").focus();
lines.push(info());
press("ArrowRight");
lines.push(info());
"""
    )
    text = dom(made(tmp_path, write(tmp_path / "o.tsv", rows)), tmp_path, act)
    assert said(text).split(" | ") == [
        "“x”, unit 1 of 2 · −0.25 bits · probability 1.19",
        "“y”, unit 2 of 2 · ∞ bits · probability 0",
    ]
    assert re.findall(r'<span class="(h\d)', text) == ["h0", "h7", "h7"]


def test_readers_that_speak_get_the_values_of_both_outputs(tmp_path: Path) -> None:
    first = document("d", [("x", 1.0), ("y", 5.0)], missing=[0.5, 0.25])
    second = document("d", [("xy", 7.0)])
    paths = write(tmp_path / "a.tsv", first), write(tmp_path / "b.tsv", second)
    act = (
        NOTE
        % """
const table = document.querySelector("#reader details");
table.addEventListener("toggle", () => {
  for (const row of table.querySelectorAll("caption, tbody tr"))
    lines.push([...row.children].map((cell) => cell.textContent).join(" ") || row.textContent);
  document.querySelectorAll('#units button[data-of="2"]')[0].click();
  lines.push(info());
  noted.textContent = lines.join(" | ");
});
table.open = true;
"""
    )
    noted = said(dom(made(tmp_path, *paths), tmp_path, act)).split(" | ")
    assert noted == [
        "Units of A: d",
        "1 x 1.00 0.5",
        "2 y 5.00 0.25",
        "3 ⊥ 1.00 0",
        "Units of B: d",
        "1 xy 7.00",
        "2 ⊥ 1.00",
        "“xy”, unit 1 of 1 · 7.00 bits · probability 0.00781",
    ]


def test_other_units_have_a_curve_of_their_own(tmp_path: Path) -> None:
    first = document("d", [("xy", 7.0), ("z", 1.0)], sizes=[2, 1])
    second = document("d", [("x", 1.0), ("y", 5.0), ("z", 2.0)])
    paths = write(tmp_path / "a.tsv", first), write(tmp_path / "b.tsv", second)
    act = (
        NOTE
        % """
const panels = [...document.querySelectorAll(".panel .text")];
lines.push(panels.map((one) => one.textContent).join(" and "));
const places = () => [...document.querySelectorAll("#reader .here")]
  .map((line) => Number(line.getAttribute("x1")) > 0);
lines.push(document.querySelectorAll("#reader svg .lb").length);
panels[1].querySelector("span").focus();
lines.push(places().join());
panels[0].querySelector("span").focus();
lines.push(places().join());
"""
    )
    noted = said(dom(made(tmp_path, *paths), tmp_path, act)).split(" | ")
    assert noted == ["xy z ⊥  and xyz⊥", "1", "false,true", "true,true"]


def test_what_stands_beside_a_unit_keeps_its_width_on_a_phone(tmp_path: Path) -> None:
    units = [(f"word{at}", 9.0 + at) for at in range(20)]
    rows = document("d", units, sizes=[2] * 20)
    page_of = made(tmp_path, write(tmp_path / "o.tsv", rows))
    # The window of a browser without a screen has a least width; a frame has none.
    frame = tmp_path / "frame.html"
    frame.write_text(
        f'<body><iframe width="390" height="800" src="{page_of.name}"></iframe></body>'
    )
    act = (
        NOTE
        % """
document.querySelector("iframe").addEventListener("load", (event) => {
  const inside = event.target.contentDocument;
  const widths = [...inside.querySelectorAll(".context")]
    .map((one) => one.getBoundingClientRect().width);
  lines.push(Math.min(...widths) >= 120, inside.documentElement.scrollWidth <= 390);
  noted.textContent = lines.join(" | ");
});
"""
    )
    text = dom(frame, tmp_path, act, "--allow-file-access-from-files")
    assert said(text) == "true | true"
