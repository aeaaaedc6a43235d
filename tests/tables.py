"""Write tiny datasets with the columns and splits of real ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from PIL import Image


def pictures(count: int, shape: tuple[int, ...] = (5, 6, 3), seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.integers(0, 256, shape, dtype=np.uint8) for _ in range(count)]


def write_split(
    folder: Path,
    split: str,
    images: Sequence[np.ndarray],
    labels: Sequence[int],
    *,
    image: str = "image",
    label: str = "label",
    classes: int | None = 3,
    names: Sequence[str] = (),
    more: dict[str, list[Any]] | None = None,
) -> str:
    """Write a split as a parquet file, labels as ClassLabel unless ``classes`` is None."""
    folder.mkdir(exist_ok=True)
    kind = datasets.Value("int64") if classes is None else datasets.ClassLabel(num_classes=classes)
    if names:
        kind = datasets.ClassLabel(names=list(names))
    columns = {image: [Image.fromarray(a) for a in images], label: list(labels), **(more or {})}
    features = {image: datasets.Image(), label: kind}
    for name, values in (more or {}).items():
        features[name] = datasets.Value("string" if isinstance(values[0], str) else "int64")
    table = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    table.to_parquet(str(folder / f"{split}-00000-of-00001.parquet"))
    return str(folder)
