"""A disk that fails under a person's hands: full, read-only, over quota, broken, or the program killed, at any durable operation of a verb.

In: a seed and a count. Out: a `Tried` for each. The verb says in words what happened; nothing that was there is lost; and done once more on a
disk that is well, it comes to its end. Each try is a process of its own, forked from one in which all is imported.
"""

from __future__ import annotations

import multiprocessing
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kohya_bridge.dataset import read_dataset
from kohya_bridge.datasets.dataset_lock import snapshot, take_version
from kohya_bridge.datasets.dataset_transfer import export_dataset, import_folder
from kohya_bridge.errors import BridgeError
from kohya_bridge.lint.repair import repair_dataset, undo_repairs
from kohya_bridge.package.package import package_lora
from kohya_bridge.runs.damage import mend
from kohya_bridge.workspace import Workspace
from tests.desk.conftest import request
from tests.planting import desk_at, make_finished, others_are_well, the_two_runs

from .datasets import _pictures
from .durable import REFUSALS, Fault, install
from .tried import CRASHED, HUNG, LOST, Tried, answer

LONGEST_S = 60.0
_forks = multiprocessing.get_context("fork")


def _dataset(place: Path) -> Any:
    return read_dataset(Workspace.at(place / "training").dataset_dir("alice"))


def _submit(place: Path) -> None:
    desk = desk_at(place)
    run = desk.submit(request(settings={"seed": 99}))
    desk.wait(run.run_id, poll_s=0.02)


def _mark(place: Path) -> None:
    dataset = _dataset(place)
    take_version(dataset, snapshot(dataset, name="x"))


def _import(place: Path) -> None:
    import_folder(Workspace.at(place / "training"), _dataset(place).dir / "images", "carol")


def _export(place: Path) -> None:
    target = place / "exported"
    shutil.rmtree(target, ignore_errors=True)
    export_dataset(_dataset(place), target, format="huggingface")


def _repair(place: Path) -> None:
    repair_dataset(_dataset(place))
    undo_repairs(_dataset(place))


def _package(place: Path) -> None:
    package_lora(
        the_two_runs(place)[0], lora_dir=place / "models" / "loras", hub_folder=True, civitai_zip=True
    )


def _mend(place: Path) -> None:
    mend(the_two_runs(place)[0])


def _steer(place: Path) -> None:
    desk = desk_at(place)
    desk.stop(the_two_runs(place)[1].run_id)
    desk.reconcile()
    desk.runs()


VERBS: dict[str, Callable[[Path], Any]] = {
    "submit": _submit,
    "steer": _steer,
    "mark": _mark,
    "import": _import,
    "export": _export,
    "repair and undo": _repair,
    "package": _package,
    "mend": _mend,
}


def disks(root: Path, *, count: int, seed: int) -> Iterator[Tried]:
    """`count` accidents; the n-th one depends on the seed and its number alone."""
    finished = make_finished(root / "finished")
    dataset = _dataset(finished).dir
    (dataset / "images" / "Thumbs.db").write_bytes(
        b"x"
    )  # something to repair, and nothing that hinders a training
    (the_two_runs(finished)[0].dir / "choices.json").write_text("{")  # something to mend
    captions = (dataset / "captions.jsonl").read_text("utf-8")
    (dataset / "captions.jsonl").write_text(captions.replace(", portrait", " ,  portrait"), "utf-8")
    operations: dict[str, int] = {}
    for number in range(count):
        dice = random.Random(f"{seed}-{number}")
        verb = sorted(VERBS)[number % len(VERBS)]
        if verb not in operations:
            place = _copy(finished, root / f"count-{verb}")
            fault = Fault(str(place), str(root / f"{verb}.operations"))
            assert _in_a_process(verb, place, fault) == "", verb
            operations[verb] = len(fault.operations())
        point = dice.randint(1, max(1, operations[verb]))
        yield _accident(finished, root, verb, point, dice.choice(("kill", *REFUSALS)), number)


def _copy(finished: Path, place: Path) -> Path:
    shutil.copytree(finished, place, symlinks=True)
    return place


def _accident(finished: Path, root: Path, verb: str, point: int, how: str, number: int) -> Tried:
    place = _copy(finished, root / f"{number}")
    before = _pictures(place)
    fault = Fault(str(place), str(root / f"{number}.operations"), at=point, how=how)
    tried = Tried(f"accident {number} ({verb}: {how} at operation {point})", acts=2)
    wrong = _in_a_process(verb, place, fault)
    again = _in_a_process(verb, place, None)
    for when, said in (("then", wrong), ("once more", again)):
        if said:
            tried.note(HUNG if said == "hung" else CRASHED, f"{when}: {said}")
    if lost := before - _pictures(place):
        tried.note(LOST, f"{len(lost)} pictures")
    if said := others_are_well(desk_at(place), the_two_runs(place)[1]):
        tried.note(LOST, said)
    shutil.rmtree(place)
    return tried


def _in_a_process(verb: str, place: Path, fault: Fault | None) -> str:
    """What `answer` says of the verb in a process of its own; empty too when the fault killed it. On a disk that is well an error that a
    person can mend is a failure as well."""
    receiver, sender = _forks.Pipe(duplex=False)
    child = _forks.Process(target=_act, args=(verb, place, fault, sender), daemon=False)
    child.start()
    sender.close()
    child.join(LONGEST_S)
    if child.exitcode is None:
        child.kill()
        child.join()
        return "hung"
    try:
        return str(receiver.recv())
    except EOFError:
        return "" if child.exitcode == -9 else "it ended without a word"


def _act(verb: str, place: Path, fault: Fault | None, sender: Any) -> None:
    if fault:
        install(fault)
        sender.send(answer(lambda: VERBS[verb](place)))
        return
    try:
        VERBS[verb](place)
        sender.send("")
    except BridgeError as error:
        sender.send(f"{type(error).__name__}: {error.problem} {error.fix}")
    except Exception as error:
        sender.send(f"{type(error).__name__}: {error}")
