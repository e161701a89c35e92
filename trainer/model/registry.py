"""The model families, and what is looked up in them: recipes by name, configurations, models.

To add a family, write a folder with a `FAMILY` (see `llama/`) and add it to `FAMILIES`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh

from schemas.errors import ConfigError
from trainer.config import ModelConfig
from trainer.mesh import shardings
from trainer.model import llama
from trainer.model.protocol import Model, ModelFamily

FAMILIES: dict[str, ModelFamily] = {family.name: family for family in (llama.FAMILY,)}


def recipe(name: str) -> ModelConfig:
    """Return the configuration of the recipe `name`; raises ConfigError with the known names if there is none."""
    recipes = {key: make for family in FAMILIES.values() for key, make in family.recipes.items()}
    if name not in recipes:
        raise ConfigError(f"model must be one of {', '.join(recipes)}, got {name!r}")
    return recipes[name]()


def family_of(config: ModelConfig) -> ModelFamily:
    """Return the family that `config` belongs to; raises ConfigError if it is not registered."""
    for family in FAMILIES.values():
        if type(config) is family.config:
            return family
    known = ", ".join(FAMILIES)
    raise ConfigError(f"{type(config).__name__} belongs to no registered model family; trainer/model has {known}")


def config_to_dict(config: ModelConfig) -> dict[str, Any]:
    """Return a JSON-ready mapping; `config_from_dict` is its inverse."""
    return {"family": family_of(config).name} | dataclasses.asdict(config)


def config_from_dict(values: Mapping[str, Any]) -> ModelConfig:
    """Read a mapping written by `config_to_dict`.

    Raises KeyError, TypeError or ValueError if it is from another version, or if a field has a value of another type.
    """
    fields = dict(values)
    # Until 2026-11-28 there was one family, which descriptions did not name.
    return FAMILIES[fields.pop("family", llama.FAMILY.name)].config.from_dict(fields)


def abstract(
    config: ModelConfig, *, text_size: int, vision_size: int, mesh: Mesh | None
) -> tuple[nnx.GraphDef[Model], nnx.State]:
    """Return a model's graph, and its parameters as shapes and dtypes only."""
    make = partial(_build, config, text_size=text_size, vision_size=vision_size, mesh=mesh, seed=0)
    return nnx.split(nnx.eval_shape(make))


def parameter_count(config: ModelConfig, *, text_size: int, vision_size: int) -> int:
    """Return the number of parameters, including embeddings and heads."""
    _, shapes = abstract(config, text_size=text_size, vision_size=vision_size, mesh=None)
    return sum(math.prod(x.shape) for x in jax.tree.leaves(shapes))


def create(config: ModelConfig, *, text_size: int, vision_size: int, mesh: Mesh, seed: int) -> Model:
    """Make a model with every parameter created in place on `mesh`; the numbers are the same on any mesh.

    `vision_size` counts the codes, <eof> and <eov>.
    """
    make = partial(_build, config, text_size=text_size, vision_size=vision_size, mesh=mesh, seed=seed)
    graph, shapes = nnx.split(nnx.eval_shape(make))
    # The program runs once, and optimizing it takes a CPU 5 s.
    quick = {"xla_backend_optimization_level": 0} if mesh.devices.flat[0].platform == "cpu" else None
    init = jax.jit(lambda: nnx.split(make())[1], out_shardings=shardings(shapes, mesh), compiler_options=quick)
    return nnx.merge(graph, init())


def _build(config: ModelConfig, *, text_size: int, vision_size: int, mesh: Mesh | None, seed: int) -> Model:
    build = family_of(config).build
    return build(config, text_size=text_size, vision_size=vision_size, rngs=nnx.Rngs(seed), mesh=mesh)
