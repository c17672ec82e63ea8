"""Mending what lint finds, as far as that needs no judgement; every repair is listed first and can be undone.

In: a dataset. Out: the list of repairs, or the mended dataset. Whatever is changed or removed is first copied to
`originals/<stamp>/` in the dataset, with a list of what was done; `undo_repairs` puts it back.
"""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from ..captions import CaptionRow, lines_joined, locked, parse_captions, write_captions
from ..datasets.dataset_folder import CAPTIONS_NAME, IMAGES_NAME, ORIGINALS_NAME, Dataset, read_dataset
from ..datasets.dataset_metadata import METADATA_NAME, DatasetMetadata, write_metadata
from ..datasets.decoding import NoText, decoded
from ..errors import Conflict, StorageError
from ..files import Tree
from ..reasons import reason_of
from . import Examined, examine
from .repair_journal import Journal, Repair, choose_journal, digest_of, read_journals, write_journal
from .repair_pictures import Colour, PictureRepair, encoded, picture_repair
from .repair_rules import mended_caption, mended_trigger, new_names, surplus_pictures, unneeded_files

WHITE: Colour = (255, 255, 255)


@dataclass(frozen=True)
class Repaired:
    """The outcome. `stamp` names the folder below `originals/`; it is empty when nothing had to be done."""

    dataset: Dataset
    repairs: tuple[Repair, ...]
    stamp: str = ""


@dataclass
class _Plan:
    """What shall be true afterwards. All names are paths relative to the dataset; `rows` goes by present file name."""

    rows: dict[str, CaptionRow]
    metadata: DatasetMetadata
    moves: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, PictureRepair] = field(default_factory=dict)
    drops: list[str] = field(default_factory=list)
    repairs: list[Repair] = field(default_factory=list)

    def add(self, rule: str, subject: str, action: str) -> None:
        self.repairs.append(Repair(rule, subject, action))


def plan_repairs(
    dataset: Dataset, *, background: Colour = WHITE, cache_dir: Path | None = None
) -> tuple[Repair, ...]:
    """What `repair_dataset` would do. Changes nothing."""
    return tuple(_plan(dataset, background, cache_dir).repairs)


def repair_dataset(
    dataset: Dataset,
    *,
    background: Colour = WHITE,
    cache_dir: Path | None = None,
    clock: Callable[[], float] = time.time,
) -> Repaired:
    """Mend the dataset: turn and flatten pictures, normalise captions and the trigger, rename awkward files, drop exact
    duplicates and junk. Transparent parts are laid on `background`.

    Raises:
        StorageError, Conflict: the disk is full, or another program writes to this dataset.
    """
    with locked(dataset.dir):
        dataset = read_dataset(dataset.dir)
        plan = _plan(dataset, background, cache_dir)
        if not plan.repairs:
            return Repaired(dataset, ())
        stamp = _new_stamp(dataset, clock())
        try:
            _apply(dataset, plan, stamp)
        except OSError as error:
            raise StorageError(
                f"The repair stopped: {reason_of(error)}.",
                f"Free disk space, then undo it ({stamp}); the originals are safe.",
            ) from error
    return Repaired(read_dataset(dataset.dir), tuple(plan.repairs), stamp)


def undo_repairs(dataset: Dataset, *, stamp: str = "") -> Dataset:
    """Put back everything that the newest repair of this machine changed; again undoes the one before it.

    A repair that another machine did, or an earlier version, is undone when a person names it by its `stamp`.

    Raises:
        NotFound, Refused: there is none of this machine, or it is not what a repair writes.
        Conflict: a file was changed after the repair, so that undoing would lose that change.
    """
    journal = choose_journal(read_journals(dataset.dir), stamp)
    journal.refuse_other_places()
    files = Tree(dataset.dir)
    with locked(dataset.dir):
        _refuse_later_changes(files, journal)
        for name in journal.written:
            if name not in journal.kept:
                files.remove(name)
        for name in journal.kept:
            if files.is_file(f"{journal.folder}/{name}"):
                files.move(f"{journal.folder}/{name}", name)
        files.clear(journal.folder)
    return read_dataset(dataset.dir)


def _refuse_later_changes(files: Tree, journal: Journal) -> None:
    """An undo that was cut short is no change: what it put back is what was kept."""
    for name, written in journal.written.items():
        here = digest_of(files, name)
        if written and here and here not in (written, journal.kept.get(name)):
            raise Conflict(
                f"{name} was changed after the repair.",
                "Move it away first: undoing would lose that change.",
            )
    for name, kept in journal.kept.items():
        copy = f"{journal.folder}/{name}"
        aside = digest_of(files, copy)
        intact = kept in ("", aside) if aside else kept and kept == digest_of(files, name)
        if not intact:
            raise Conflict(
                f"{copy} is not what the repair kept.",
                f"Bring it back, or delete {journal.folder}: then the repair stays.",
            )


def _plan(dataset: Dataset, background: Colour, cache_dir: Path | None) -> _Plan:
    seen, _ = examine(dataset, cache_dir=cache_dir)
    rows = {
        item.name: item.row or CaptionRow(item.name, item.caption, source="import")
        for item in dataset.items
        if item.source
    }
    plan = _Plan(rows, dataset.metadata)
    files = Tree(dataset.dir)
    if files.is_file(CAPTIONS_NAME):
        for row in parse_captions(files.read_bytes(CAPTIONS_NAME))[0]:
            plan.rows.setdefault(row.file_name, row)
    _plan_files(seen, plan)
    _plan_captions(seen, plan)
    for item, facts in seen.readable():
        name = f"{IMAGES_NAME}/{item.name}"
        repair = picture_repair(item.file, facts, background=background)
        if repair and name not in plan.drops:
            plan.pictures[name] = repair
            for rule, action in repair.actions:
                plan.add(rule, item.name, action)
    return plan


def _plan_files(seen: Examined, plan: _Plan) -> None:
    surplus = surplus_pictures(seen)
    for name, twin in surplus.items():
        plan.drops.append(f"{IMAGES_NAME}/{name}")
        plan.rows.pop(name, None)
        plan.add("W231", name, f"Move it away: it shows the same picture as {twin}.")
    for name, (rule, action) in unneeded_files(seen).items():
        plan.drops.append(name)
        plan.add(rule, name, action)
    for old, (rule, new) in new_names(seen, without=surplus).items():
        plan.moves[f"{IMAGES_NAME}/{old}"] = f"{IMAGES_NAME}/{new}"
        plan.add(rule, old, f"Rename it to {new}.")


def _plan_captions(seen: Examined, plan: _Plan) -> None:
    dataset = seen.dataset
    trigger = mended_trigger(dataset.trigger)
    if trigger != dataset.trigger:
        plan.metadata = plan.metadata.model_copy(update={"lora_tag": trigger})
        plan.add("E402", METADATA_NAME, f"Name the trigger {trigger!r} instead of {dataset.trigger!r}.")
    lost: set[str] = set()
    for rule, kind in (("E103", "caption_not_utf8"), ("E105", "caption_multiline")):
        for subject, _ in seen.problems(kind):
            if not _rescue(dataset, plan, subject, rule):
                lost.add(subject)
    for item in dataset.items:
        if item.source in lost:
            plan.rows.pop(item.name, None)
    for name in [item.name for item in seen.captioned() if item.name in plan.rows]:
        row = plan.rows[name]
        rule, caption = mended_caption(
            row.prompt, trigger=trigger, old_trigger=dataset.trigger, others=seen.other_triggers
        )
        if rule:
            own = trigger if row.trigger == dataset.trigger else row.trigger
            plan.rows[name] = replace(row, prompt=caption, trigger=own)
            plan.add(rule, name, f"Write the caption as: {caption[:160]}")
    for rule, kinds in (("W104", ("captions_bom", "caption_bom")), ("W107", ("row_twice",))):  # fmt: skip
        for subject, _ in seen.problems(*kinds):
            plan.add(
                rule, subject, "Write captions.jsonl anew, as clean UTF-8 with one line for each picture."
            )
    if plan.repairs:
        for subject, why in seen.problems("captions_bad_row"):
            plan.add("E106", subject, f"Leave the line out of the new captions.jsonl: {why}.")
        plan.drops += [item.source for item in dataset.items if item.source not in ("", CAPTIONS_NAME, *lost)]


def _rescue(dataset: Dataset, plan: _Plan, sidecar: str, rule: str) -> bool:
    """Take over all lines of a caption file, if its encoding is known. What is no text stays as it is, and the finding with it."""
    try:
        text = lines_joined(decoded(Tree(dataset.dir).read_bytes(sidecar)).text)
    except NoText:
        return False
    for item in dataset.items:
        if item.source == sidecar:
            plan.rows[item.name] = CaptionRow(item.name, text, source="import")
            plan.add(rule, sidecar, f"Take it over as: {text[:120]}")
    return True


def _apply(dataset: Dataset, plan: _Plan, stamp: str) -> None:
    """Copy everything that will change aside and write the journal, then change it; in that order."""
    files, dir = Tree(dataset.dir), dataset.dir
    final = {name: plan.moves.get(name, name) for name in (*plan.moves, *plan.pictures)}
    changed = dict.fromkeys((*final, *plan.drops, CAPTIONS_NAME, METADATA_NAME))
    kept = {name: digest_of(files, name) for name in changed if files.is_file(name)}
    written = dict.fromkeys((*final.values(), CAPTIONS_NAME, METADATA_NAME), "")
    journal = Journal(stamp, tuple(plan.repairs), kept, written)
    for name in kept:
        shutil.copy2(files.plain(name), files.free(f"{journal.folder}/{name}"))
    write_journal(dir, journal)
    for name in plan.drops:
        files.remove(name)
    for old, new in final.items():
        if repair := plan.pictures.get(old):
            content = encoded(repair.made(), PurePosixPath(new).suffix.lower())
            files.remove(old)
            files.write(new, content)
        else:
            files.move(old, new)
    write_captions(dir / CAPTIONS_NAME, [_renamed(row, name, plan.moves) for name, row in plan.rows.items()])
    if plan.metadata != dataset.metadata:
        write_metadata(dir / METADATA_NAME, plan.metadata)
    write_journal(dir, replace(journal, written={name: digest_of(files, name) for name in written}))


def _renamed(row: CaptionRow, name: str, moves: dict[str, str]) -> CaptionRow:
    new = moves.get(f"{IMAGES_NAME}/{name}", name).removeprefix(f"{IMAGES_NAME}/")
    return replace(row, file_name=new)


def _new_stamp(dataset: Dataset, now: float) -> str:
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    there = {each.name for each in Tree(dataset.dir).entries(ORIGINALS_NAME)}
    number = next(n for n in itertools.count(1) if f"{stamp}-{n:02d}" not in there)
    return f"{stamp}-{number:02d}"
