"""The metadata table of a packaged LoRA: kohya's `ss_*` as they were, modelspec 1.0.1, and what rebuilds the run.

In: `PackageFacts` and a thumbnail. Out: a string-to-string table that fits ComfyUI's header limit. It never holds a path,
and never the hash of the file that it stands in. Field names: https://github.com/Stability-AI/ModelSpec (1.0.1).
"""

from __future__ import annotations

from .. import json_text
from ..engine_names import ENGINES
from ..errors import InvalidInput
from ..plan import TrainingPlan
from .facts import PackageFacts
from .header import header_bytes
from .scrub import machine_names, scrub_json, scrub_metadata

MODELSPEC_VERSION = "1.0.1"
PLAN_KEY, RUN_KEY, STEP_KEY, CHECKPOINT_KEY = (
    "wizdroid.plan",
    "wizdroid.run_id",
    "wizdroid.step",
    "wizdroid.checkpoint_sha256",
)
SCRUBBED_KEY = "wizdroid.plan_scrubbed"
"""There, and "true", when paths had to be taken out of the plan: it then no longer gives its run id."""
EXPENDABLE = ("modelspec.thumbnail", "ss_tag_frequency", "ss_datasets", "ss_bucket_info")
"""What is left out, in this order, when the header would be larger than ComfyUI reads."""
KEPT_PREFIXES = ("ss_", "sshs_", "modelspec.")


def packaged_metadata(
    facts: PackageFacts, *, tensor_sha256: str, thumbnail: str = ""
) -> tuple[dict[str, str], list[str]]:
    """The table, and what had to be left out of it to keep the header below 1 MiB."""
    inherited = {key: value for key, value in facts.header.metadata.items() if key.startswith(KEPT_PREFIXES)}
    table = scrub_metadata(inherited, names=machine_names())
    table.update(_modelspec(facts, tensor_sha256))
    plan = scrub_json(facts.plan.model_dump(mode="json"))
    if names_files_of_this_machine(facts.plan):
        table[SCRUBBED_KEY] = "true"
    table.update(
        {
            "sshs_model_hash": tensor_sha256,
            PLAN_KEY: json_text.write(plan, ensure_ascii=False, separators=(",", ":")),
            RUN_KEY: facts.run_id,
            STEP_KEY: str(facts.step),
            CHECKPOINT_KEY: facts.checkpoint_sha256,
        }
    )
    if thumbnail:
        table["modelspec.thumbnail"] = thumbnail
    return _fitting(facts, table)


def names_files_of_this_machine(plan: TrainingPlan) -> bool:
    """Whether a plan holds paths, as options for sd-scripts may; without them it gives another run."""
    whole = plan.model_dump(mode="json")
    return bool(scrub_json(whole) != whole)


def usage_hint(facts: PackageFacts) -> str:
    """One line: what to write into a prompt, and how strongly to apply the LoRA."""
    ask = f"Put {facts.trigger} into the prompt. " if facts.trigger else ""
    return f"{ask}Strength {facts.strength.text}."


def tags(facts: PackageFacts) -> list[str]:
    return ["character", "lora", facts.family.name, *filter(None, [facts.trigger])]


def _modelspec(facts: PackageFacts, tensor_sha256: str) -> dict[str, str]:
    settings, plan = facts.plan.settings, facts.plan
    names = facts.family.names
    fields = {
        "sai_model_spec": MODELSPEC_VERSION,
        "architecture": names.modelspec,
        "implementation": names.implementation,
        "title": facts.title,
        "resolution": f"{settings.resolution}x{settings.resolution}",
        "description": facts.release.description,
        "author": facts.author,
        "date": facts.made.replace(microsecond=0, tzinfo=None).isoformat(),
        "hash_sha256": f"0x{tensor_sha256}",
        "implementation_version": _implementation(plan.engine, plan.engine_version),
        "license": facts.release.licence.text,
        "usage_hint": usage_hint(facts),
        "tags": ", ".join(tags(facts)),
        "trigger_phrase": facts.trigger,
        "prediction_type": "" if facts.family.flow else _predicts(settings.prediction_type),
        "timestep_range": f"{settings.min_timestep},{settings.max_timestep}",
        "encoder_layer": str(settings.clip_skip) if facts.family.captions.clip_skip else "",
    }
    return {f"modelspec.{name}": value for name, value in fields.items() if value}


def _predicts(prediction_type: str) -> str:
    return "v" if prediction_type == "v_prediction" else "epsilon"


def _implementation(engine: str, version: str) -> str:
    return f"{ENGINES[engine].tool}/{version}"


def _fitting(facts: PackageFacts, table: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    left_out: list[str] = []
    expendable = [key for key in EXPENDABLE if key in table]
    while True:
        try:
            header_bytes(facts.header, table)
            return table, left_out
        except InvalidInput:
            if not expendable:
                raise
            left_out.append(expendable.pop(0))
            del table[left_out[-1]]
