"""Which engine trains a request, and why.

In: a request, its model family, and the engines of this installation. Out: a choice with its reason as a sentence. What the
engine then objects to, it says itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..architectures import architecture
from ..architectures.base import Architecture
from ..engine_names import AUTO, ENGINES
from ..engines.contract import Engine
from ..errors import InvalidInput, Unavailable
from ..plan import TrainingRequest


@dataclass(frozen=True)
class EngineChoice:
    """The engine of a plan, its version, and why it was taken."""

    name: str
    version: str
    reason: str


def choose_engine(request: TrainingRequest, family_name: str, engines: Mapping[str, Engine]) -> EngineChoice:
    """`auto` takes the first engine that trains the family and honours every option of the request; a named engine is taken as
    it is.

    Raises:
        Unavailable: the engine that is asked for or needed is not set up.
        InvalidInput: no engine trains the family.
    """
    if request.engine != AUTO:
        return EngineChoice(
            request.engine, _version(request.engine, engines), f"Engine {request.engine}: you chose it."
        )
    of_family = architecture(family_name)
    passed_over: list[str] = []
    for name, engine in engines.items():
        lacking = engine.cannot_train(of_family, {**request.model_files, **request.kohya})
        if not lacking:
            try:
                version = engine.version()
            except Unavailable as error:  # and why none before it would do
                raise Unavailable(" ".join([*passed_over, error.problem]), error.fix) from None
            return EngineChoice(name, version, _reason(name, of_family, passed_over))
        passed_over.append(lacking)
    if missing := [name for name in ENGINES if name not in engines]:
        raise Unavailable(
            f"The {' and the '.join(missing)} engine is not part of this installation. {' '.join(passed_over)}",
            "Install the whole pack, or leave out what only that engine knows.",
        )
    raise InvalidInput(
        f"No engine here trains {of_family.title} as it is asked for. {' '.join(passed_over)}",
        "Choose a base model of another family, or leave out the options that only another engine knows.",
    )


def _reason(name: str, of_family: Architecture, passed_over: list[str]) -> str:
    why = " ".join(passed_over) or f"it trains {of_family.title}, and nothing in this plan needs another one."
    return f"Engine {name}: {why}"


def _version(name: str, engines: Mapping[str, Engine]) -> str:
    if name not in engines:
        raise Unavailable(
            f"The {name} engine is not part of this installation.", f"There are: {', '.join(engines)}."
        )
    return engines[name].version()
