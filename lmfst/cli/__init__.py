"""The command line: parses, calls, renders errors. No logic lives here.

A module a command, named like it; here they are registered, in the order of `lmfst --help`.

Data go to stdout only; warnings, progress and errors to stderr. Exit codes: 0, 1 run-time error,
2 usage, 130 interrupt, 143 SIGTERM, 129 SIGHUP; a reader that closes the pipe ends a command
quietly.
"""

from lmfst.cli import (
    apply,
    compile,
    convert,
    counts,
    decode,
    draw,
    info,
    next,
    print,
    report,
    sample,
    score,
)
from lmfst.cli.group import app, main

__all__ = ["app", "main"]

app.command("convert")(convert.convert)
app.command("score")(score.score)
app.command("report")(report.report)
app.command("next")(next.next_)
app.command("sample")(sample.sample)
app.command("decode")(decode.decode)
app.command("counts")(counts.counts)
app.command("apply")(apply.apply)
app.command("compile")(compile.compile_)
app.command("print")(print.print_)
app.command("info")(info.info)
app.command("draw")(draw.draw)
