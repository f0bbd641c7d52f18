"""One step of a recipe, run alone from records in the store."""

from collections.abc import Mapping, Sequence
from typing import Any

from components.adapters.pointers import Pointer
from components.context import RunContext
from components.contracts.artifacts import Approved, Artifact
from components.contracts.errors import ConfigError, IntegrityError
from components.contracts.fingerprint import Fingerprint
from components.contracts.registry import nearest
from components.register import rival
from flows.line import STAGES
from flows.pipeline import PipelineConfig


def run_step(name: str, config: PipelineConfig, given: Mapping[str, str], ctx: RunContext) -> Artifact:
    """The result of step `name`, made from the results of the steps that it takes.

    `given` names their fingerprints; a step that is not given stands with its last result for this recipe.

    Raises:
        ConfigError: E_CONFIG, there is no such step, it takes no such input, or the input was never made.
    """
    check_step(name, "NAME")
    stage = STAGES[name]
    for one in given:
        if one not in stage.takes:
            allowed = ", ".join(stage.takes) or "none: it starts the line"
            raise ConfigError(
                "E_CONFIG",
                f"{name} takes no such input",
                place="--input",
                value=one,
                allowed=allowed,
                action="name these",
            )
    if name == "compress" and config.compress is None:
        action = "add a section `compress` to it, or --set compress.quantise=dynamic"
        raise ConfigError("E_CONFIG", "the recipe asks for no smaller versions", place="compress", action=action)
    without = {"compress"} if config.compress is None else set()
    inputs: list[Any] = [None if one in without else _input(ctx, one, given.get(one, "")) for one in stage.takes]
    _check_lineage(ctx, name, stage.takes, inputs)
    if name == "evaluate":
        inputs.append(rival(ctx, config.model_name, inputs[0]))
    if name == "register":
        inputs[0] = _approved(inputs[0])
    result: Artifact = stage.run(stage.config(config), *inputs, ctx=ctx)
    return result


def _check_lineage(ctx: RunContext, name: str, takes: Sequence[str], inputs: Sequence[Any]) -> None:
    """Raise E_CONFIG where one input was made from another result than the one that stands beside it."""
    if name == "register":
        fits = inputs[0].report.package == inputs[1].fingerprint
    elif name == "gate":
        fits = inputs[1] is None or inputs[0].package == inputs[1].package
    elif len(inputs) == 2:
        made = ctx.store.artifact(takes[0], inputs[0].fingerprint).standing().meta["fingerprint"]["inputs"]
        fits = made["dataset"] == inputs[1].content
    else:
        return
    if not fits:
        raise ConfigError(
            "E_CONFIG",
            f"this {takes[0]} result was not made from this {takes[1]} result",
            place="--input",
            value=" ".join(f"{one}={result.fingerprint}" for one, result in zip(takes, inputs, strict=True)),
            action=f"run the steps between them first, or name results that belong together ({', '.join(takes)})",
        )


def pairs(given: Sequence[str], place: str = "--input") -> dict[str, str]:
    """Inputs written as `STEP=FINGERPRINT`, by step.

    Raises:
        ConfigError: E_CONFIG, one is not written so.
    """
    found = {}
    for text in given:
        name, equals, fingerprint = text.partition("=")
        if not equals:
            what = "an input is STEP=FINGERPRINT"
            raise ConfigError("E_CONFIG", what, place=place, value=text, action="write it so")
        found[name] = fingerprint
    return found


def check_step(name: str, place: str) -> None:
    """Raise E_CONFIG unless there is a step of that name."""
    if name not in STAGES:
        what = "there is no such step" + nearest(name, STAGES, 0.5)
        raise ConfigError(
            "E_CONFIG", what, place=place, value=name, allowed=", ".join(STAGES), action="name one of these"
        )


def _input(ctx: RunContext, step: str, fingerprint: str) -> Artifact:
    last = Pointer(ctx.store, f"last/{ctx.name}/{step}").read()
    key = fingerprint or (Fingerprint.model_validate(last.value).key if last else "")
    try:
        if key:
            return ctx.load(STAGES[step].gives, key)
    except IntegrityError as error:
        raise _lacking(ctx, step, key) from error
    raise _lacking(ctx, step, key)


def _lacking(ctx: RunContext, step: str, key: str) -> ConfigError:
    what = "the store has no such result" if key else f"{ctx.name} has not run this step yet"
    action = f"run `millrace step {step}` first, or name a result with --input {step}=FINGERPRINT"
    return ConfigError("E_CONFIG", what, place=f"--input {step}", value=key or None, action=action)


def _approved(verdict: Any) -> Approved:
    if verdict.verdict != "approved":
        raise ConfigError(
            "E_CONFIG",
            "this package may not be registered",
            place="gate",
            value=verdict.verdict,
            allowed="; ".join(verdict.checks),
            action="`millrace approve` the run that made it",
        )
    return Approved.model_validate(verdict.model_dump())
