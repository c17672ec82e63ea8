"""Options that do not go together: what their origin makes of them, and what this program's own settings rule out.

In: an import whose options are carried and filled in. Out: the same with settings that are valid together, each change told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ....settings import DENSITIES, SCHEDULE_FREE

if TYPE_CHECKING:
    from .carrying import Carrier


def fit_together(carrier: Carrier) -> None:
    """What the origin makes of options that do not go together, and what the others rule out."""
    changing = carrier.settings.get("shuffle_caption") or carrier.settings.get("caption_tag_dropout_rate")
    if carrier.settings.get("network_train_unet_only") is False or changing:
        carrier.settings["cache_text_encoder_outputs"] = False
    if carrier.kohya.get("color_aug") or carrier.kohya.get("random_crop"):
        carrier.settings["cache_latents"] = False
    _buckets(carrier)
    _schedule_free(carrier)
    now = carrier.settings
    if _reaches(now["min_timestep"], now["max_timestep"]):
        for name, default in (("min_timestep", 0), ("max_timestep", 1000)):
            carrier.change(name, default, "the smallest timestep is not below the largest.")
    if now.get("zero_terminal_snr") and now["prediction_type"] == "epsilon":
        carrier.change("zero_terminal_snr", False, "an epsilon model can't learn the last step.")
    if now.get("weighting_scheme") in DENSITIES and now.get("timestep_sampling", "sigma") != "sigma":
        carrier.change("weighting_scheme", "none", "it counts only with timestep_sampling sigma.")
    elif now.get("weighting_scheme") in DENSITIES:
        now["timestep_sampling"] = "sigma"


def _buckets(carrier: Carrier) -> None:
    now = carrier.settings
    for name, least in (("resolution", 64), ("bucket_reso_steps", 8)):
        value = now.get(name)
        if isinstance(value, int | float) and value % 8:
            carrier.change(name, max(least, round(value / 8) * 8), "the VAE works on blocks of 8 pixels.")
    least, most = now["min_bucket_reso"], now["max_bucket_reso"]
    if _reaches(least, most) and least != most:
        carrier.change("min_bucket_reso", most, "the shortest edge was above the longest.")
        carrier.change("max_bucket_reso", least, "the longest edge was below the shortest.")
    side = now.get("resolution")
    if side and not now["enable_bucket"] and not _reaches(least, most):
        now["min_bucket_reso"] = min(least, side)
        now["max_bucket_reso"] = max(most, side)


def _schedule_free(carrier: Carrier) -> None:
    if carrier.settings.get("optimizer_type") not in SCHEDULE_FREE:
        return
    why = "a schedule-free optimizer does not look at the schedule."
    if named := carrier.kohya.pop("lr_scheduler", ""):
        carrier.rows = [row for row in carrier.rows if row.name != "lr_scheduler"]
        carrier.tell("lr_scheduler", named, None, why, "left")
        carrier.settings["lr_scheduler"] = "constant"
    elif carrier.settings.get("lr_scheduler") != "constant":
        carrier.change("lr_scheduler", "constant", why)


def _reaches(one: Any, other: Any) -> bool:
    """Whether both are numbers and the first is not below the second; what is no number is left behind by itself."""
    return isinstance(one, int | float) and isinstance(other, int | float) and one >= other
