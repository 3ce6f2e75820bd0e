"""The trainings of a profile, as separate jobs: what its notebooks would train, so that they find it trained."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from camlib.report.needs import is_network
from camlib.report.plan import choose_settings, complete_settings

POOLS = ("avg", "max")


class Training(NamedTuple):
    """One network to train: what `camlib.train.load_network` takes."""

    model: str
    weights: str
    pool: str
    training: dict[str, Any]
    seed: int


def list_trainings(profile: str, check_data: bool = True) -> list[Training]:
    """The networks that a profile's notebooks train, each once, in the notebooks' order.

    A network that the settings list is trained with its own pooling; settings that are one network themselves (02) are
    trained with both, on each of their data. The dials of notebook 10 are not in the list: it trains them itself.
    check_data: see `choose_settings`, which also says what this raises.
    """
    chosen, found = choose_settings(profile, check_data), list[Training]()
    for settings in complete_settings({name: planned.parameters for name, planned in chosen.items()}).values():
        for one in _walk(settings, settings):
            if one not in found:
                found.append(one)
    return found


def _walk(value: Any, settings: dict[str, Any]) -> Iterator[Training]:
    if is_network(value) and value["weights"] in ("train", "finetune"):
        pools = POOLS if value is settings else (value.get("pool", "avg"),)
        trainings = [settings["training"]]
        if value is settings:
            trainings += [one["training"] for one in settings.get("also", [])]
        for training in trainings:
            for seed in settings.get("seeds") or [settings.get("seed", 0)]:
                yield from (Training(value["model"], value["weights"], pool, training, seed) for pool in pools)
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _walk(child, settings)


def describe_training(training: Training) -> str:
    """One line for people."""
    from camlib.train.recipes import get_recipe

    model, weights, pool, given, seed = training
    stop = get_recipe(given["recipe"], given["epochs"]).epochs_run
    epochs = f"{stop} of {given['epochs']}" if stop < given["epochs"] else stop
    epochs = f"{epochs} epochs by recipe {given['recipe']}"
    return f"{model}, {pool} pooling, seed {seed}: {weights} on {given['trained_on']}, {epochs}"
