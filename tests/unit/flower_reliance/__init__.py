"""Parts of Flower outside its public API that the package relies on: one test for each.

A failing test means that an update of Flower changed one of them. What has no public name in Flower
is imported inside its test. Where each is used:

- ``rounds/grid/simulation.py``, ``runs/provenance.py``: ``Grid.run`` has ``primary_task_type``
  (``flwr-simulation`` for a simulation), ``run_id`` and ``fab_hash``;
- ``nodes/simulated.py``, ``nodes/task_cache.py``: a simulation pickles the ClientApp to its actors,
  a SuperNode imports it;
- ``rounds/grid/split_grid.py``, ``messages/reply.py``: error 0 is the simulation's own, 3 an
  unavailable message, 5 an unavailable node; ``Message.error`` takes a subclass;
- ``messages/reason.py``: the text of an error, ``<class 'X'>:<'text'>``, in a simulation
  ``Exception ClientAppException occurred. Message:``;
- ``messages/outside_a_run.py``, ``rounds/grid/inline_grid.py``: ``Message(content, metadata=…)``;
- ``messages/virtual_client.py``: a message's ``group_id`` reaches the node and its reply unchanged;
- ``rounds/grid/split_grid.py``: a push that the SuperLink refuses returns no id; ``Grid.get_nodes``
  has ``public_key`` and ``last_activated_at``;
- ``nodes/identity.py``: a simulated node has ``partition-id`` and ``num-partitions``;
- ``messages/records.py``, ``compression/codecs/``: an ``Array`` holds numpy's format 1.0 or 2.0
  under ``numpy.ndarray``; one of any other format travels unchanged;
- ``rounds/reply_spool.py``: an ``Array`` subclass without Flower's constructor can be averaged and
  stays in an ``ArrayRecord``;
- ``messages/reply.py``: ``ConfigRecord.count_bytes`` fails on an empty value;
- ``rounds/aggregation/client_clipping.py``, ``messages/records.py``: the wrappers' key
  ``clipping_norm``, the record ``arrays``;
- ``rounds/grid/split_grid.py``, ``rounds/split_strategy.py``: Flower's loop hands the Grid's list
  of replies to ``aggregate_train``; the methods of a ``Strategy``;
- ``runs/log_lines.py``, ``runs/log.py``: the logger ``flwr``, its console handler's ``timestamps``,
  the line ``Initial global evaluation results: %s``;
- ``rounds/early_stop.py``: the argument ``should_stop`` of Flower 1.43
  (``tests/unit/strategies/test_start.py``);
- ``simulations/superlink.py``: words, JSON and environment variables of ``flwr run``, ``flwr list``
  and ``flwr log`` (every test of ``tests/e2e``).
"""
