"""What a node says of an error: the reason, and no name of a file."""

import copy
import errno
import os
import pickle
from pathlib import Path

import pytest
from flwr.app import Context, Message, RecordDict

from fsl_sage_flwr.data import DatasetError
from fsl_sage_flwr.messages import DESCRIBE, MissingPayloadError
from fsl_sage_flwr.messages.outside_a_run import message_outside_a_run
from fsl_sage_flwr.nodes.short_errors import NodeError, short_errors_mod, without_files
from fsl_sage_flwr.nodes.simulated import Simulated

from ...memory_grid import MemoryGrid
from ...tasks import small_app

SECRET = "Doe"


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/data/John Doe/scan 1.dcm"),
        OSError(errno.EXDEV, os.strerror(errno.EXDEV), "/data/Doe/a", None, "b of Doe"),
        DatasetError("data-path = '/home/Doe' is no directory; give the absolute path"),
        ValueError("cannot identify image file 'John Doe, 3.png'"),
        ValueError('cannot identify image file "C:\\\\Users\\\\Doe\\\\1.png"'),
        ValueError("row 7 of data/Doe.csv: label 9"),
        ValueError("row 7 of ../Doe/table: label 9"),
        ValueError("image Doe.JPG: truncated"),
        ValueError("file:///srv/Doe/train.parquet cannot be read"),
        ValueError("~Doe/x cannot be read"),
        ValueError("(/srv/Doe)"),
        ValueError(f"in {Path('/srv') / 'Doe'}: no split"),
        ValueError("many lines\n  File /a/Doe.py, line 3\n"),
    ],
)
def test_names_of_files_do_not_leave_the_node(error: Exception) -> None:
    said = without_files(error)
    assert SECRET not in said
    assert "<file>" in said
    assert said.startswith(f"{type(error).__name__}: ")
    assert "\n" not in said


@pytest.mark.parametrize(
    "text",
    [
        "labels run from 0 to 11; valid are 0 to 9",
        "'layer1.0.conv1.weight' is (3, 4) there and missing here, made for 10 classes",
        'start it with --node-config "partition-id=0 num-partitions=2", each node with its own id',
        "cast it to datasets.ClassLabel and/or torch.float32: 2/3 of uoft-cs/cifar10",
        "400/500 rows; the server's client half does not fit this node",
        "loss 0.5. The next one",
    ],
)
def test_other_reasons_are_said_as_they_are(text: str) -> None:
    assert without_files(MissingPayloadError(text)) == f"MissingPayloadError: {text}"


def test_a_long_text_is_cut() -> None:
    assert len(without_files(ValueError("word " * 1000))) < 310


def failing(message: Message, context: Context) -> Message:
    raise DatasetError("data-path = '/home/Doe' is no directory")


def question() -> tuple[Message, Context]:
    here = Context(run_id=1, node_id=2, node_config={}, state=RecordDict(), run_config={})
    return message_outside_a_run(RecordDict(), 2, DESCRIBE, 60.0), here


def test_the_nodes_own_log_has_all_of_it() -> None:
    with pytest.raises(NodeError, match="DatasetError: data-path = <file> is no directory") as seen:
        short_errors_mod(Simulated())(*question(), failing)
    assert isinstance(seen.value.__cause__, DatasetError)


def test_in_a_simulation_errors_stay_as_they_are() -> None:
    with pytest.raises(DatasetError, match="/home/Doe"):
        short_errors_mod(Simulated(True))(*question(), failing)


def test_every_client_app_has_it_around_all_else() -> None:
    def look(message: Message, context: Context, call_next: object) -> Message:
        return failing(message, context)

    grid = MemoryGrid(small_app(mods=[look]), 1)
    (node,) = grid.get_node_ids()
    (key,) = grid.push_messages([message_outside_a_run(RecordDict(), node, DESCRIBE, 60.0)])
    (reply,) = grid.pull_messages([key])
    assert "DatasetError: data-path = <file> is no directory" in reply.error.reason
    assert SECRET not in reply.error.reason


def test_only_another_process_takes_a_sent_app_for_a_simulated_one() -> None:
    here = Simulated()
    assert pickle.loads(pickle.dumps(here))
    assert not copy.deepcopy(here)
    assert not copy.copy(here)
    assert not here
