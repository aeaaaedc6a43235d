import json
import os
import socket
import time
from dataclasses import replace
from datetime import datetime, timedelta

import psutil
import pytest

from fsl_sage_flwr.analysis.load_results import read_runs
from fsl_sage_flwr.analysis.run_state import age_text, last_change, lost_after, state_of

from ...made_runs import make_run

NO_SUCH_PROCESS = 2**30


def running(root, **holders):
    """Return a run whose summary is of a running one, and the holder of its locks."""
    path = make_run(root, [0.5], completed=False, status="running")
    (path / ".locks").mkdir()
    for role, holder in holders.items():
        (path / ".locks" / f"{role}.json").write_text(holder, encoding="utf-8")
    (run,) = read_runs(root)
    return run


def holder(process, host=None, since=None):
    since = since or datetime.now().astimezone()
    named = {"process": process, "host": host or socket.gethostname(), "since": since.isoformat()}
    return json.dumps(named)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("completed", "completed"),
        ("OSError: no space left", "failed"),
        ("interrupted", "interrupted"),
        ("stopped", "interrupted"),
        ("KeyboardInterrupt: ", "interrupted"),  # of an older version, as the next
        ("SystemExit: 0", "interrupted"),
        ("running", "running"),  # a run of an older version, without locks
    ],
)
def test_the_summary_says_how_a_run_ended(tmp_path, status, state):
    make_run(tmp_path, [0.5], completed=status == "completed", status=status)
    (run,) = read_runs(tmp_path)
    assert state_of(run) == state
    assert state_of(replace(run, summary={})) == "interrupted"


def test_a_run_is_at_work_while_a_process_that_holds_it_lives(tmp_path):
    began = datetime.fromtimestamp(psutil.Process().create_time()).astimezone()
    gone, alive = holder(NO_SUCH_PROCESS), holder(os.getpid(), since=began)
    assert state_of(running(tmp_path / "a", command=gone, training=alive)) == "running"
    assert state_of(running(tmp_path / "b", command=gone, training=gone)) == "interrupted"
    assert state_of(running(tmp_path / "c", command=gone)) == "interrupted"


def test_a_later_process_with_the_same_number_is_another(tmp_path):
    began = datetime.fromtimestamp(psutil.Process().create_time()).astimezone()
    earlier = holder(os.getpid(), since=began - timedelta(hours=1))
    assert state_of(running(tmp_path, training=earlier)) == "interrupted"


def test_what_cannot_be_known_is_running_and_after_hours_lost(tmp_path):
    elsewhere = holder(NO_SUCH_PROCESS, host="another-machine")
    for name, text in (("a", elsewhere), ("b", '{"process": ')):
        run = running(tmp_path / name, training=text)
        assert state_of(run) == "running"
        assert lost_after(run) == 3 * 3600
        assert lost_after(replace(run, config={"round-timeout": 60.0})) == 3600
        written = [file for file in run.path.iterdir() if file.is_file()]
        for since, state in ((3 * 3600 - 60, "running"), (3 * 3600 + 60, "lost")):
            for file in written:
                os.utime(file, (time.time() - since,) * 2)
            assert state_of(run) == state


def test_the_last_change_is_of_the_newest_file(tmp_path):
    path = make_run(tmp_path, [0.5])
    (run,) = read_runs(tmp_path)
    for file, when in (("history.csv", 300), ("summary.json", 200), ("config.json", 100)):
        os.utime(path / file, (when, when))
    assert last_change(run) == 300


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.9, "59 s"), (60, "1 min"), (7199, "1 h"), (200_000, "2 d")],
)
def test_an_age_is_short(seconds, text):
    assert age_text(seconds) == text
