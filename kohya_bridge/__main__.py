"""`python -m kohya_bridge <verb>`: the shell's door to everything that the nodes do.

In: a command line. Out: text or JSON, and an exit code of `cli/exit_codes.py`. What a person can mend is told as problem and
fix; the traceback, theirs or ours, goes to `logs/shell.log` of the workspace.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Mapping, Sequence

from .cli import adopting, datasets, exit_codes, health, prompts, provenance, results, steering, training
from .cli.context import Context
from .cli.parsing import Parser, Verbs
from .console import let_streams_show_anything, let_warnings_be_shown
from .engines.contract import Engine
from .errors import BridgeError
from .files import Tree
from .redaction import without_secrets
from .system_errors import in_words

MODULES = (prompts, datasets, adopting, training, steering, results, provenance, health)


def make_parser() -> tuple[argparse.ArgumentParser, Verbs]:
    """The parser of the whole command line, and its verbs."""
    parser = Parser(
        prog="python -m kohya_bridge",
        description="Train a LoRA of a character: prompts, dataset, training, judging, packaging.",
        epilog="Exit codes are listed in docs/cli.md.",
    )
    verbs = Verbs(parser)
    for module in MODULES:
        module.add(verbs)
    return parser, verbs


def main(arguments: Sequence[str] | None = None, *, engines: Mapping[str, Engine] | None = None) -> int:
    """Run one command line and return its exit code. `engines` replaces the registry's."""
    let_streams_show_anything()
    let_warnings_be_shown()
    typed = sys.argv[1:] if arguments is None else arguments
    parsed = make_parser()[0].parse_args(arguments)
    context = Context(parsed, engines=engines)
    try:
        code: int = parsed.action(context, parsed)
        return code
    except BridgeError as error:
        _keep_traceback(context, typed)
        context.out.error(error)
        return exit_codes.of_error(error)
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has seen enough
        sys.stderr.close()
        return exit_codes.DONE
    except OSError as error:
        _keep_traceback(context, typed)
        told = in_words(error)
        context.out.error(told)
        return exit_codes.of_error(told)
    except Exception as error:  # the outermost edge: whatever it is, the person gets a sentence
        log = _keep_traceback(context, typed)
        context.out.error(
            BridgeError(f"Something went wrong: {type(error).__name__}: {error}", f"See {log}.")
        )
        return exit_codes.UNEXPECTED


def _keep_traceback(context: Context, typed: Sequence[str]) -> str:
    log_file = context.workspace.logs_dir / "shell.log"
    try:
        told = f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(typed)}\n{traceback.format_exc()}"
        told = without_secrets(told, typed=typed)
        with Tree(log_file.parent).append(log_file) as log:
            log.write(told.encode("utf-8", "backslashreplace"))
    except OSError:
        return "the message above; the log could not be written"
    return str(log_file)


if __name__ == "__main__":
    sys.exit(main())
