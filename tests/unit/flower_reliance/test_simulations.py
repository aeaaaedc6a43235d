"""Simulation or deployment, and the nodes of either."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.app import Context, Message, RecordDict

from fsl_sage_flwr.messages import VirtualClient
from fsl_sage_flwr.rounds.grid.simulation import SIMULATION, is_simulation
from fsl_sage_flwr.runs.provenance import of_flower_run

from ...memory_grid import sent_to_an_actor
from . import running
from .running import app_of_a_test, set_the_ids_of_a_run


def test_a_run_says_what_it_is_and_what_app_it_runs() -> None:
    """``Grid.run`` has ``primary_task_type``, ``run_id`` and ``fab_hash``."""
    from flwr.common.serde import run_from_proto, run_to_proto
    from flwr.supercore.constant import TaskType
    from flwr.supercore.run import Run

    run = Run.create_empty(run_id=7)
    run.fab_hash, run.primary_task_type = "ab", TaskType.SIMULATION
    told = run_from_proto(run_to_proto(run))
    assert told.primary_task_type == SIMULATION
    assert is_simulation(SimpleNamespace(run=told))  # type: ignore[arg-type]
    assert of_flower_run(told) == {"run_id": "7", "app_hash": "ab"}
    told.primary_task_type = TaskType.SERVER_APP
    assert not is_simulation(SimpleNamespace(run=told))  # type: ignore[arg-type]


def test_a_supernode_imports_the_client_app_and_a_simulation_pickles_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mark of a simulated node is set by pickling, which Ray does with every message."""
    from flwr.clientapp.utils import get_load_client_app_fn

    (tmp_path / "imported_app.py").write_text(
        f"from {running.__name__} import app_of_a_test\n\napp = app_of_a_test\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    load = get_load_client_app_fn("imported_app:app", str(tmp_path), False)
    assert load("", "", "") is app_of_a_test
    set_the_ids_of_a_run()
    client = VirtualClient(0, 2).group_id
    for app, is_simulated in ((app_of_a_test, False), (sent_to_an_actor(app_of_a_test), True)):
        message = Message(RecordDict(), 1, "query.describe", group_id=client)
        context = Context(1, 1, {}, RecordDict(), {})
        if is_simulated:
            assert app(message, context).has_content()
        else:
            with pytest.raises(RuntimeError, match="only a simulation's nodes run several"):
                app(message, context)


@pytest.mark.slow
def test_flower_run_tells_a_simulation_and_its_nodes(tmp_path: Path) -> None:
    """An app of a third party, started by ``flwr run`` alone."""
    from fsl_sage_flwr.cpus import usable_cpus
    from fsl_sage_flwr.simulations.superlink import SuperLink

    app, results = tmp_path / "app", tmp_path / "told.txt"
    app.mkdir()
    (app / "pyproject.toml").write_text(
        '[project]\nname = "told-app"\nversion = "1.0.0"\nlicense = "Apache-2.0"\n'
        '[tool.flwr.app]\npublisher = "told"\nfab-include = ["*.py"]\n'
        '[tool.flwr.app.components]\nserverapp = "told_server:app"\nclientapp = "told_client:app"\n'
        f'[tool.flwr.app.config]\nresults = "{results}"\n',
        encoding="utf-8",
    )
    (app / "told_client.py").write_text(CLIENT, encoding="utf-8")
    (app / "told_server.py").write_text(SERVER, encoding="utf-8")
    config = tmp_path / "config.toml"
    config.write_text("", encoding="utf-8")
    with SuperLink(tmp_path, app, tmp_path / "log", 1, usable_cpus()) as superlink:
        run = superlink.run(app, config, {"num-supernodes": 1, "client-resources-num-cpus": 1})
        wait_for(lambda: superlink.status(run).startswith("finished"))
        log = (tmp_path / "log").read_text(encoding="utf-8")
        assert superlink.status(run).startswith("finished:completed"), log
    assert results.read_text(encoding="utf-8") == "True True"


CLIENT = """
from flwr.app import Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from fsl_sage_flwr.nodes.simulated import Simulated

def app_of(simulated):
    app = ClientApp()

    @app.query()
    def told(message, context):
        told = MetricRecord({"simulated": int(bool(simulated))})
        return Message(RecordDict({"told": told}), reply_to=message)

    return app

app = app_of(Simulated())
"""


SERVER = """
from pathlib import Path
from time import sleep
from flwr.app import Message, RecordDict
from flwr.serverapp import ServerApp
from fsl_sage_flwr.rounds.grid.simulation import is_simulation

app = ServerApp()

@app.main()
def main(grid, context):
    while not (nodes := list(grid.get_node_ids())):
        sleep(0.1)
    (reply,) = grid.send_and_receive([Message(RecordDict(), nodes[0], "query")])
    simulated = bool(reply.content["told"]["simulated"])
    Path(context.run_config["results"]).write_text(f"{is_simulation(grid)} {simulated}")
"""


def wait_for(is_true: Any, seconds: float = 240.0) -> None:
    import time

    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_a_node_of_a_simulation_knows_its_place() -> None:
    from flwr.common.constant import NUM_PARTITIONS_KEY, PARTITION_ID_KEY

    assert (PARTITION_ID_KEY, NUM_PARTITIONS_KEY) == ("partition-id", "num-partitions")
