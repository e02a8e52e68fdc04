"""The native part of a package: objects and a recipe for each level, and running them again.

A package holds what the disk cache holds of a program, for several levels, so that loading it is
linking and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from nncomp.ir.graph import Graph

from .. import Runner
from ..stored import count_objects, recipe_from_json, recipe_to_json
from ..target import LEVELS
from .levels import Level, highest_here, platform_name

if TYPE_CHECKING:
    from ..stages import Stages
    from .program import Request


class NoCodeForCpu(RuntimeError):
    """A package holds no code that this machine can run."""


def level_parts(request: Request, level: Level) -> tuple[dict[str, Any], list[bytes]]:
    """Recipe, as JSON values, and object files of one level."""
    from ..object_maker import ObjectMaker
    from ..stages import Stages

    with ObjectMaker(level.target) as maker:
        stages = Stages(request.graph, request.constant, level.target, add=maker.add)
        objects = maker.objects(stages.all_numbers)
    fields = recipe_to_json(stages.recipe)
    assert fields is not None
    return fields, objects


def choose_level(platform: str, levels: Sequence[str]) -> str:
    """The highest of `levels` that this machine runs, or the one that NNCOMP_ISA names.

    NoCodeForCpu, with what the package has and what this machine is, if there is none; ValueError
    for an unknown NNCOMP_ISA.
    """
    here = platform_name("host")
    if platform != here:
        raise NoCodeForCpu(
            f"the package holds code for {platform}, but this machine is {here}; "
            f"export it again with target={here!r}"
        )
    wanted = os.environ.get("NNCOMP_ISA", "").strip().lower()
    if wanted and wanted not in LEVELS:
        raise ValueError(f"NNCOMP_ISA is {wanted!r}; expected one of {', '.join(LEVELS)}")
    highest = highest_here()
    usable = [n for n in LEVELS if n in levels and LEVELS.index(n) <= LEVELS.index(highest)]
    if wanted and wanted not in usable:
        raise NoCodeForCpu(
            f"NNCOMP_ISA asks for {wanted!r}; the package holds code for {', '.join(levels)} and "
            f"this CPU goes up to {highest!r}"
        )
    if not usable:
        raise NoCodeForCpu(
            f"the package holds code for {', '.join(levels)}, but this CPU goes up to {highest!r}; "
            "export it again with cpu=None, or with a lower level in cpu="
        )
    return wanted or usable[-1]


def make_runner(
    fields: dict[str, Any], objects: Sequence[bytes], graph: Callable[[], Graph]
) -> Runner:
    """The program of a package; ValueError for a recipe that does not fit the objects.

    What Runner shows of its making, beside what runs, is made anew from `graph()` when asked for.
    """
    try:
        recipe = recipe_from_json(fields)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"the recipe of the package is damaged: {error!r}") from error
    if recipe is None or count_objects(recipe) != len(objects):
        raise ValueError("the recipe of the package does not fit its objects")

    def stages() -> Stages:
        from ..stages import Stages
        from ..target import host_target

        return Stages(graph(), (), host_target())

    return Runner(recipe, iter(objects), stages)


__all__ = ["NoCodeForCpu", "choose_level", "level_parts", "make_runner"]
