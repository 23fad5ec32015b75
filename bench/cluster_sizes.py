"""How large a cluster becomes, what it costs, and what is busy first: ``python -m bench.cluster_sizes``.

    python -m bench.cluster_sizes [--entries 100000000] [--files 10000000] [--nodes 30] [--changes 20] …

It measures for about a minute what an entry, a file and a node cost here, and multiplies.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import react

from bench import cluster_model
from bench.cluster_model import Capacity, Prices, Scale, Units
from bench.cluster_units import measure


def main(arguments: list[str]) -> None:
    """Measure, multiply and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.cluster_sizes", description=__doc__.partition("\n")[0])
    for of in (Scale, Capacity):
        for field in attrs.fields(of):
            option, default = f"--{field.name.replace('_', '-')}", field.default
            parser.add_argument(option, type=type(default), default=default, help=f"(default: {default:,})")
    parser.add_argument("--units", type=Path, help="a file with what was measured before; it is written if it is missing")
    given = vars(parser.parse_args(arguments))
    react(lambda _reactor: Deferred.fromCoroutine(_main(given)))


async def _main(given: dict[str, Any]) -> None:
    units = await _units(given["units"])
    scale, capacity = Scale(**_of(Scale, given)), Capacity(**_of(Capacity, given))
    for line in report(units, scale, capacity):
        print(line)


def _of(kind: type[Scale | Capacity], given: dict[str, Any]) -> dict[str, Any]:
    return {field.name: given[field.name] for field in attrs.fields(kind)}


async def _units(path: Path | None) -> Units:
    if path is not None and path.exists():
        return Units(**json.loads(path.read_text()))
    units = await measure(lambda text: print(f"measuring: {text}", file=sys.stderr, flush=True))
    if path is not None:
        path.write_text(json.dumps(attrs.asdict(units), indent=2))
    return units


def report(units: Units, scale: Scale, capacity: Capacity) -> list[str]:
    """Return what is printed."""
    most, obstacle = cluster_model.most_changes(units, scale, capacity)
    described = f"{scale.entries:,} entries, {scale.files:,} files of {scale.file_bytes:,} bytes, {scale.nodes} nodes"
    busy = f"{scale.changes:g} changes, {scale.pages:,.0f} pages and {scale.downloads:,.0f} downloads a second"
    return [
        *cluster_model.as_lines(f"Sizes: {described}", cluster_model.sizes(units, scale)),
        *cluster_model.as_lines("Costs of the bucket a month", cluster_model.costs(scale, Prices())),
        *cluster_model.load_lines(f"How busy everything is: {busy}", cluster_model.loads(units, scale, capacity)),
        f"At most {most:,.0f} changes a second; what stands in the way of more: {obstacle}",
    ]


if __name__ == "__main__":
    main(sys.argv[1:])
