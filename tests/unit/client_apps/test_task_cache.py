import pickle
from functools import partial

from flwr.app import Context, RecordDict

from fsl_sage_flwr.nodes import task_cache
from fsl_sage_flwr.nodes.task_cache import task_of

from ...tasks import small_task

built = []


def build(context: Context) -> object:
    built.append(context.run_id)
    return small_task()


def context(run_id: int, **node_config: str | int) -> Context:
    config = {key.replace("_", "-"): value for key, value in node_config.items()}
    return Context(run_id, 1, config, RecordDict(), {})


def test_a_task_is_built_once_per_run() -> None:
    built.clear()
    first = task_of(build, context(1))  # type: ignore[arg-type]
    assert task_of(build, context(1)) is first  # type: ignore[arg-type]
    assert task_of(build, context(2)) is not first  # type: ignore[arg-type]
    assert built == [1, 2]


def test_partials_of_other_arguments_are_other_tasks() -> None:
    built.clear()

    def sized(size: int, context: Context) -> object:
        return build(context)

    tasks = [task_of(partial(sized, size), context(6)) for size in (1, 2, 2)]  # type: ignore[arg-type]
    assert tasks[1] is tasks[2]
    assert tasks[0] is not tasks[1]


def test_a_task_outlives_the_pickling_that_ray_does_with_every_message() -> None:
    """The simulation sends the ClientApp itself along: a cache on it would be empty."""
    from ray import cloudpickle  # here, because Ray takes a second to import

    built.clear()
    run = 5

    def handle() -> object:
        return task_of(build, context(run))  # type: ignore[arg-type]

    blob = cloudpickle.dumps(handle)
    first, second = pickle.loads(blob)(), pickle.loads(blob)()
    assert first is second
    assert len(task_cache._last) == 1


def test_nodes_share_a_task_unless_more_than_their_place_differs() -> None:
    built.clear()

    def of(**node_config: str | int) -> object:
        return task_of(build, context(3, num_partitions=2, **node_config))  # type: ignore[arg-type]

    first, own = of(partition_id=0), of(partition_id=1, data_path="/own")
    assert of(partition_id=1) is first
    assert of(partition_id=0, data_path="/own") is own
    assert own is not first
    assert built == [3, 3]
    task_of(build, context(4))  # type: ignore[arg-type]
    assert len(task_cache._last) == 1
