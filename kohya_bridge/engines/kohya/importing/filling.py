"""What a foreign file leaves out, trained as its origin trains it then.

In: an import whose options are carried. Out: the same with every setting that the origin would decide; told where that is not what this program
would take by itself, or where this program differs on purpose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ....plan import OBJECTIVE_OF_FLOW
from ....settings import TrainingSettings
from .origin import defaults_of, options_of, script_of

if TYPE_CHECKING:
    from .carrying import Carrier

OURS = TrainingSettings()


def fill_in(carrier: Carrier) -> None:
    """Set what the file says nothing of."""
    now = carrier.settings
    epochs_unknown = any(row.name == "max_train_epochs" for row in carrier.rows)
    for name, value in defaults_of(carrier.reader).items():
        no_warmup = name == "lr_warmup_steps" and now.get("lr_scheduler") == "constant"
        if not no_warmup and not (name == "max_train_steps" and epochs_unknown):
            _fill(carrier, name, value, value)
    if now.get("lr_scheduler") == "constant":
        now["lr_warmup_steps"] = 0.0
    now.setdefault("text_encoder_lr", now["unet_lr"])
    known = options_of(script_of(carrier.family))
    for name in OBJECTIVE_OF_FLOW:
        if name in known:
            value = "none" if name == "weighting_scheme" and known[name] == "uniform" else known[name]
            _fill(carrier, name, known[name], value)
    if "seed" not in now:
        carrier.tell("seed", "random", OURS.seed, "Here the same seed is the same training.", "default")
    if "validation_split" not in now:
        why = "Pictures are held out so that checkpoints can be judged; 0 trains on all of them."
        carrier.tell("validation_split", 0.0, OURS.validation_split, why, "default")


def _fill(carrier: Carrier, name: str, theirs: Any, ours: Any) -> None:
    if name in carrier.settings or name in carrier.kohya:
        return
    carrier.settings[name] = ours
    if ours != getattr(OURS, name):
        carrier.tell(
            name, theirs, ours, f"The file says nothing; this is what {carrier.reader} does.", "default"
        )
