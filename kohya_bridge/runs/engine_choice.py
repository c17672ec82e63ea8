"""Which engine trains a request, and why.

In: a request, its model family, and the engines of this installation. Out: a choice with its reason as a sentence. What the
engine then objects to, it says itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..engines.contract import Engine
from ..errors import Unavailable
from ..families import family
from ..plan import TrainingRequest


@dataclass(frozen=True)
class EngineChoice:
    """The engine of a plan, its version, and why it was taken."""

    name: str
    version: str
    reason: str


def choose_engine(request: TrainingRequest, family_name: str, engines: Mapping[str, Engine]) -> EngineChoice:
    """`auto` takes kohya where it is set up and the plan needs it, else native; a named engine is taken as it is.

    Raises:
        Unavailable: the engine that is asked for or needed is not set up.
    """
    if request.engine != "auto":
        return EngineChoice(
            request.engine, _version(request.engine, engines), f"Engine {request.engine}: you chose it."
        )
    needs = []
    if request.kohya:
        needs.append(f"sd-scripts options are set ({', '.join(sorted(request.kohya))})")
    if not family(family_name).native:
        needs.append(f"the native engine does not train {family(family_name).title}")
    if needs:
        return EngineChoice("kohya", _version("kohya", engines), f"Engine kohya: {' and '.join(needs)}.")
    return EngineChoice(
        "native", _version("native", engines), "Engine native: nothing in this plan needs sd-scripts."
    )


def _version(name: str, engines: Mapping[str, Engine]) -> str:
    if name not in engines:
        raise Unavailable(
            f"The {name} engine is not part of this installation.", f"There are: {', '.join(engines)}."
        )
    return engines[name].version()
