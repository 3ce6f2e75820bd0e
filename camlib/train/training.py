"""Training on Accelerate: one process or many, resumable at any moment, cached by a hash of its settings."""

import json
import math
import os
import shutil
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from camlib._memory import return_freed
from camlib.datasets.base import Dataset
from camlib.evaluate import forward_batches
from camlib.models import GAPNet, Pool, build_model, digest_network
from camlib.store import checkpoint_dir, digest, digest_code, hold_cache, write_aside
from camlib.train.checkpoints import is_trained, read_trained, resume
from camlib.train.frozen import compute_maps, evaluate_maps, mirror_maps, split_trunk
from camlib.train.recipes import Recipe, group_parameters, learning_rate
from camlib.transforms import Preset, iterate_batches, normalize_images, pick_device, random_crop_mirror, run_ahead

with warnings.catch_warnings():  # in a notebook it asks for widgets, which nothing here uses
    warnings.filterwarnings("ignore", message="IProgress not found")
    from accelerate import Accelerator

CHECKPOINT_EVERY_S = 300.0  # at most this much work is lost to a kill, however long an epoch is
READ_EVERY = 100  # steps between looks at the loss


def train_model(
    name: str,
    train: Dataset,
    val: Dataset,
    *,
    preset: Preset,
    recipe: Recipe,
    pool: Pool = "avg",
    weights: str | Path | None = None,
    seed: int = 0,
) -> tuple[GAPNet, list[dict[str, float]]]:
    """Train a network of `build_model`, or load it if these very settings were trained before.

    weights: what it starts from. preset: the preprocessing that it is trained with.
    Every random choice (first weights, order, crops, dropout) is a function of `seed` and the step. A run that was
    killed goes on from its last checkpoint to the same weights as an undisturbed one. Two pools with one seed see the
    same images in the same order. Under torchrun or `accelerate launch` the processes share each batch; another number
    of them can go on. float32 everywhere: that bfloat16 leaves GAP - GMP as it is has not been shown.

    Returns the network in eval mode, on the CPU, and its learning curve, one dict per epoch: epoch, train_loss,
    val_loss, val_top1 (accuracy, %), seconds.
    Raises ValueError if train and val have other classes, a batch does not divide among the processes, the loss is no
    longer finite (naming the step), or a checkpoint is damaged (with its path and what to delete).
    """
    if train.classes != val.classes:
        raise ValueError(f"{train.name} {train.split} has {len(train.classes)} classes, {val.split} {len(val.classes)}")
    torch.manual_seed(seed)
    net = build_model(name, len(train.classes), pool, weights)
    # The network that training starts from says what it computes; validation and maps do not touch its weights.
    code = digest_code(__name__, without=("camlib.evaluate", "camlib.models", "camlib.cam"))
    settings = {
        "code": code,
        "torch": torch.__version__,
        "model": name,
        "start": digest_network(net),
        "pool": pool,
        "classes": len(train.classes),
        "train": [train.name, train.split, train.fingerprint],
        "val": [val.name, val.split, val.fingerprint],
        "preset": asdict(preset),
        "recipe": asdict(recipe),
        "seed": seed,
    }
    folder = checkpoint_dir() / f"{name}-{pool}-{train.name}-{digest(settings)}"
    if not is_trained(folder):
        others = int(os.environ.get("WORLD_SIZE", 1)) - 1  # under torchrun the first process holds the lock for all
        first = os.environ.get("RANK", "0") == "0"
        with hold_cache(folder.name, f"train {folder.name}", wait=not others) if first else nullcontext():
            if others or not is_trained(folder):  # nor did another run train it meanwhile
                _train(net, train, val, preset, recipe, seed, folder, settings)
                return_freed()
    history = read_trained(folder, net)
    # The same memory layout whether just trained or read from the cache: it decides the last digits on a CPU.
    return net.cpu().eval().to(memory_format=torch.channels_last), history


def _train(
    net: GAPNet,
    train: Dataset,
    val: Dataset,
    preset: Preset,
    recipe: Recipe,
    seed: int,
    folder: Path,
    settings: dict[str, Any],
) -> None:
    accelerator = Accelerator(cpu=pick_device().type == "cpu", mixed_precision="no")
    if recipe.batch_size % accelerator.num_processes:
        raise ValueError(f"a batch of {recipe.batch_size} does not divide among {accelerator.num_processes} processes")
    trained, maps = net, None
    if recipe.frozen:
        trunk, trained = split_trunk(net)
        maps, val_maps = (compute_maps(trunk, part, preset) for part in (train, val))
    optimizer = torch.optim.SGD(group_parameters(trained, recipe), lr=recipe.lr, momentum=recipe.momentum)
    trained.to(memory_format=torch.channels_last).train()
    model, optimizer = accelerator.prepare(trained, optimizer)
    steps_per_epoch = len(train) // recipe.batch_size
    if steps_per_epoch == 0:
        raise ValueError(f"{train.name} has {len(train)} training images; one batch takes {recipe.batch_size}")
    total = steps_per_epoch * recipe.epochs
    end = steps_per_epoch * recipe.epochs_run
    step, history, losses, seconds = 0, list[dict[str, float]](), list[float](), 0.0
    unread = list[Tensor]()  # losses on the device: reading one waits for its step
    last = folder / "last.pt"
    if last.exists():
        step, history, losses, seconds = resume(last, net, optimizer)

    def read_losses() -> None:
        if unread:
            losses.extend(torch.stack(unread).tolist())
            for at, loss in enumerate(losses[-len(unread) :], step - len(unread)):
                if not math.isfinite(loss):
                    raise ValueError(f"the loss is {loss} at step {at}: lower the learning rate ({recipe.lr})")
            unread.clear()

    def save_checkpoint() -> None:
        if accelerator.is_main_process:
            state = {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
            state |= {"history": history, "losses": losses, "seconds": seconds}
            with write_aside(last) as aside:
                torch.save(state, aside)

    started = saved = time.monotonic()
    progress = tqdm(
        total=end,
        initial=step,
        desc=f"train {settings['model']} ({settings['pool']}, seed {seed})",
        disable=not accelerator.is_local_main_process,
    )
    with progress:
        while step < end:
            epoch = step // steps_per_epoch
            for images, labels in _training_batches(train, maps, preset, recipe, seed, epoch, step, accelerator):
                unread.append(_training_step(model, optimizer, images, labels, recipe, seed, step, total, accelerator))
                step += 1
                progress.update()
                if len(unread) == READ_EVERY:
                    read_losses()
                if step % steps_per_epoch and time.monotonic() - saved > CHECKPOINT_EVERY_S:
                    read_losses()  # a checkpoint holds no network that is lost
                    seconds, started = seconds + time.monotonic() - started, time.monotonic()
                    save_checkpoint()
                    saved = time.monotonic()
            read_losses()
            if maps is None:
                val_loss, val_top1 = evaluate_classifier(net, val, preset)
            else:
                val_loss, val_top1 = evaluate_maps(trained, val_maps, torch.from_numpy(val.labels), accelerator.device)
            seconds, started = seconds + time.monotonic() - started, time.monotonic()
            history.append(
                {
                    "epoch": epoch + 1,
                    "train_loss": float(np.mean(losses)),
                    "val_loss": val_loss,
                    "val_top1": val_top1,
                    "seconds": round(seconds, 1),
                }
            )
            losses = []
            progress.set_postfix_str(f"val top-1 {val_top1:.1f} %")
            save_checkpoint()
            saved = time.monotonic()
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        with write_aside(folder / "model.safetensors") as aside:
            save_file({k: v.detach().cpu().contiguous() for k, v in net.state_dict().items()}, aside)
            shutil.copymode(last, aside)  # safetensors lets its owner alone read it, others may share the cache
        about = {"settings": settings, "history": history, "processes": accelerator.num_processes}
        with write_aside(folder / "training.json") as aside:  # written last: its presence says that training is done
            aside.write_text(json.dumps(about, indent=1))
        last.unlink(missing_ok=True)
    accelerator.wait_for_everyone()  # the other processes read what the main one has just written


def _training_batches(
    train: Dataset,
    maps: Tensor | None,
    preset: Preset,
    recipe: Recipe,
    seed: int,
    epoch: int,
    step: int,
    accelerator: Accelerator,
) -> Iterator[tuple[Tensor, Tensor]]:
    """What is left of this epoch from `step` on, this process's share of each batch: images, or maps of a trunk."""
    size = recipe.batch_size
    done = step % (len(train) // size)
    order = np.random.default_rng([seed, epoch]).permutation(len(train))
    order = order[done * size : len(train) // size * size]
    process, processes, device = accelerator.process_index, accelerator.num_processes, accelerator.device
    share = order.reshape(-1, size)[:, process::processes]
    labels = torch.from_numpy(train.labels)
    batches: Iterable[tuple[np.ndarray, Tensor]] = ((rows, maps[rows]) for rows in share) if maps is not None else ()
    if maps is None:
        batches = iterate_batches(train, preset, share.shape[1], share.reshape(-1), training=True)
    for i, (indices, images) in enumerate(run_ahead(batches)):
        generator = torch.Generator().manual_seed(_mix(seed, step + i, 0))
        if torch.device(device).type == "cuda":
            images = images.pin_memory()  # so that the copy does not wait
        images = images.to(device, non_blocking=True)
        if maps is None:
            images = random_crop_mirror(images, preset.crop, generator, (process, processes))
            yield normalize_images(images, preset), labels[indices].to(device)
        else:
            yield mirror_maps(images, generator, (process, processes)), labels[indices].to(device)


def _training_step(
    model: nn.Module,
    optimizer: Any,
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    seed: int,
    step: int,
    total: int,
    accelerator: Accelerator,
) -> Tensor:
    rate = learning_rate(recipe, step, total)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_factor"]
    torch.manual_seed(_mix(seed, step, accelerator.process_index))  # dropout
    loss = F.cross_entropy(model(images.contiguous(memory_format=torch.channels_last)), labels)
    optimizer.zero_grad()
    accelerator.backward(loss)
    optimizer.step()
    return loss.detach()


def _mix(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def evaluate_classifier(net: GAPNet, dataset: Dataset, preset: Preset) -> tuple[float, float]:
    """Mean cross-entropy and top-1 accuracy in % over a dataset, from centre crops. Leaves the net in training mode."""
    loss, right = 0.0, 0
    labels = torch.from_numpy(dataset.labels)

    def forward(x: Tensor, batch: np.ndarray) -> Tensor:
        return net(x.contiguous(memory_format=torch.channels_last)).float().cpu()

    for batch, logits in forward_batches(net, dataset, preset, forward, batch_size=128):
        loss += F.cross_entropy(logits, labels[batch], reduction="sum").item()
        right += int((logits.argmax(1) == labels[batch]).sum())
    net.train()
    return loss / len(dataset), 100 * right / len(dataset)
