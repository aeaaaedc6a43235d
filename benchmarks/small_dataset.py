"""Write a part of a local image dataset, for benchmarks that would take days on all of it.

    python -m benchmarks.small_dataset SOURCE OUT [--train 5000] [--test 1000]

The rows of both splits are drawn at random with one seed: always the same.
"""

import argparse
from pathlib import Path

import datasets


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--train", type=int, default=5000)
    parser.add_argument("--test", type=int, default=1000)
    given = parser.parse_args()
    for split, rows in (("train", given.train), ("test", given.test)):
        part = datasets.load_dataset(str(given.source), split=split).shuffle(seed=0)
        path = given.out / "data" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        part.select(range(rows)).to_parquet(str(path))


if __name__ == "__main__":
    main()
