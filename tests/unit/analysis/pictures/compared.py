"""Comparisons that every kind of picture can be drawn of."""

from fsl_sage_flwr.analysis import load_results
from fsl_sage_flwr.analysis.comparison import compare
from fsl_sage_flwr.runs.virtual_time import JOULES, SECONDS

from ....made_runs import MIB, make_run

ALPHAS = [{"distribution": "noniid_dirichlet", "alpha": alpha} for alpha in (10.0, 0.5)]


# What a kind needs beside two algorithms and two seeds.
NEEDS = {
    "accuracy-alpha": ALPHAS,
    "scatter-alpha": ALPHAS,
    "align-interval": [{"align_interval": 5}],
    "head-size": [{"auxiliary": "linear", "head": 10}],
}


CLIENT_ROWS = [
    {"client": client, "seconds": 1.0 + client, "down_bytes": MIB, "up_bytes": client * MIB,
     "failure": "timeout" if client == 1 else ""}
    for client in range(3)
]  # fmt: skip


def comparison_for(root, kind):
    clocked = {SECONDS: 60.0, JOULES: 5.0}
    sent = {"down_client_half_bytes": 7 * MIB, "up_smashed_bytes": MIB, **clocked}
    for seed in (1, 2):
        make_run(root, [0.4, 0.6], seed=seed, algorithm="fed_avg", head=0, mib_a_round=3,
                 row=clocked)  # fmt: skip
        for changes in ({}, *NEEDS.get(kind, [])):
            row = {"alignment_cosine": 0.5, **sent}
            make_run(root, [0.2, 0.8 - seed / 100], seed=seed, row=row, client_rows=CLIENT_ROWS,
                     **changes)  # fmt: skip
    return compare(load_results(root), mean_of=1, target=0.6)


def legend(picture):
    return [text.get_text() for text in picture.figure.legends[0].get_texts()]


def lines_of(ax, marker):
    return [line for line in ax.get_lines() if line.get_marker() == marker]
