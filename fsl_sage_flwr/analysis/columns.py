"""Add columns to the rounds of runs."""

import pandas as pd


def with_columns(rounds: pd.DataFrame, columns: "dict[str, pd.Series[float]]") -> pd.DataFrame:
    """Return rounds with further columns, or with others in place of those of the same name.

    pandas warns of every column that is assigned to a frame of more than 100 blocks; each integer
    or text column of a history and its run configuration is a block.
    """
    kept = rounds.drop(columns=[name for name in columns if name in rounds])
    return pd.concat([kept, pd.DataFrame(columns, index=rounds.index)], axis=1)
