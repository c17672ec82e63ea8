"""The verb doctor: what is there, what is missing, and the command for it."""

from __future__ import annotations

import argparse

from ..doctor import examine_machine
from . import exit_codes
from .context import Context
from .parsing import Verbs


def add(verbs: Verbs) -> None:
    verbs.add("doctor", show_health, "Say what is installed and what is missing, with the command for it.")


def show_health(context: Context, arguments: argparse.Namespace) -> int:
    diagnoses = examine_machine(context.workspace, context.checkpoint_dirs)
    for each in diagnoses:
        context.out.emit(each.__dict__)
        context.out.say(f"{each.verdict:<9}{each.subject:<24}{each.found}")
        if each.fix:
            context.out.say(f"{'':<9}{'':<24}-> {each.fix}")
    return exit_codes.NOT_WELL if any(each.verdict == "missing" for each in diagnoses) else exit_codes.DONE
