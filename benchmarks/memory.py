"""Forward passes and training steps with freed memory kept, as importing camlib arranges it, and without (glibc only).

    python benchmarks/memory.py

Each runs in a process of its own, in turn; a ratio is of the medians.
"""

import os
import resource
import statistics
import subprocess
import sys
import time

TURNS, REPEATS = 3, 5
WAYS = {"kept": {}, "as glibc does": {"MALLOC_ARENA_MAX": str(8 * (os.cpu_count() or 1))}}  # its own default, but said
WORK = {"efficientnet_lite0": (32, 224, False), "resnet18": (32, 224, False), "mini_gap": (64, 64, True)}


def time_network(name: str) -> str:
    """Median seconds of a pass, and the most memory that the process had, in KiB."""
    import torch

    from camlib.models import build_model

    count, size, trains = WORK[name]
    net = build_model(name).train(trains).to(memory_format=torch.channels_last)
    x = torch.rand(count, 3, size, size).to(memory_format=torch.channels_last)
    seconds = []
    for _ in range(REPEATS + 2):
        started = time.perf_counter()
        with torch.set_grad_enabled(trains):
            outputs = net(x)
            if trains:
                outputs.sum().backward()
        seconds.append(time.perf_counter() - started)
    return f"{statistics.median(seconds[2:])} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}"


def main() -> None:
    """Print the table."""
    print(
        "## Freed memory\n\n| work | way | against | ratio of times | of most memory |\n| --- | --- | --- | --- | --- |"
    )
    shell = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    for name, (count, size, trains) in WORK.items():
        found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
        for _ in range(TURNS):
            for way, told in WAYS.items():
                command = [sys.executable, __file__, name]
                done = subprocess.run(command, env=shell | told, check=True, capture_output=True, text=True)
                found[way].append([float(number) for number in done.stdout.split()])
        kept, usual = ([statistics.median(column) for column in zip(*found[way], strict=True)] for way in WAYS)
        ratios = " | ".join(f"{a / b:.3f}" for a, b in zip(kept, usual, strict=True))
        work = f"{name}, {count} images of {size} px, {'forward and backward' if trains else 'forward'}"
        print(f"| {work} | freed memory kept | as glibc does | {ratios} |", flush=True)


if __name__ == "__main__":
    print(time_network(sys.argv[1])) if sys.argv[1:] else main()
