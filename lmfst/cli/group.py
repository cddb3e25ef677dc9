"""The typer application: the group of commands, and how every command ends.

Errors that lmfst raises on purpose become a line on stderr and an exit code; a reader that closes
the pipe ends a command quietly; an interrupt gives 130, SIGTERM 143 and SIGHUP 129.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import Annotated, Any

import typer
import typer.core

from lmfst.cli.ends import Stops, secure_streams
from lmfst.cli.terminal import Terminal
from lmfst.ground._version import __version__
from lmfst.ground.errors import LmfstError

INTERRUPTED = 130


class Commands(typer.core.TyperGroup):
    """The commands, with lmfst's exit codes."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except LmfstError as error:
            Terminal().error(str(error))
            raise SystemExit(error.exit_code) from None
        except KeyboardInterrupt:
            raise SystemExit(INTERRUPTED) from None
        except BrokenPipeError:
            # typer would turn this into exit code 1.
            drop_stdout()
            raise SystemExit(0) from None
        except OSError as error:
            raise SystemExit(failed(error)) from None
        except (MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            raise SystemExit(_starved(error)) from None


def _out_of_memory(error: BaseException) -> bool:
    """Whether memory was lacking: the host's, or a device's, as torch says it."""
    if isinstance(error, MemoryError) or "torch" not in sys.modules:
        return isinstance(error, MemoryError)
    from lmfst.lm.memory import out_of_memory

    return out_of_memory(error)


def _starved(error: BaseException) -> int:
    """Say that memory was lacking outside of model calls, which get smaller by themselves. The exit
    code."""
    said = str(error).splitlines()[0] if str(error) else "no more could be had"
    hint = "share calls between fewer documents (--batch 8), use --device cpu, or free memory"
    Terminal().error(str(LmfstError(f"out of memory: {said}", hint=hint)))
    return LmfstError.exit_code


def failed(error: OSError) -> int:
    """Say what is wrong with a full disk, a file that vanished, a stream that is closed: nothing
    that a traceback would explain better. The exit code."""
    where = f"{error.filename}: " if error.filename else ""
    Terminal().error(f"{where}{error.strerror or error}")
    return 1


def drop_stdout() -> None:
    """Let nothing more go to a closed pipe: Python would try to flush it on its way out."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.__stdout__.fileno() if sys.__stdout__ else 1)
    os.close(devnull)


app = typer.Typer(
    name="lmfst",
    cls=Commands,
    help="Turn a language model into an exact language model over other units.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:
    if value:
        print(f"lmfst {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line and leave with its exit code."""
    secure_streams()
    stops = Stops()
    stops.install()
    code: object = 0
    try:
        app()
    except SystemExit as done:
        code = done.code
    except KeyboardInterrupt:
        code = INTERRUPTED
    except OSError as error:  # of --help and --version, which are no commands
        code = failed(error)
    try:
        code = _flushed(code)
    except KeyboardInterrupt:
        _flushed(code)
    if stops.code:
        # Nothing is left to put away, and the signal that ends a hanging process would end this
        # one under its own number while the interpreter takes itself apart.
        os._exit(stops.code)
    # Else the interpreter looks for garbage among all objects several times on its way out: with
    # torch and transformers a second, for nothing.
    gc.freeze()
    sys.exit(code)  # type: ignore[arg-type]


def _flushed(code: object) -> object:
    """Hand on the last of stdout; the exit code, which was `code` so far."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        drop_stdout()
    except OSError as error:
        drop_stdout()
        # If it ended the command it has been said.
        return code or failed(error)
    return code
