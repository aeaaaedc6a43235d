"""Steps of the server half on the uploads of one round."""

from ...messages import TrainReply
from ...seeding import derive_seed
from ...tensor_store import TensorFile
from ..round import Round
from .server_half import OneServerHalf
from .smashed_pool import batches_across, named_tensors


class RoundUploads:
    """Steps the server half on the uploads of a round, per client or across clients.

    Across clients, uploads are kept in files until all have arrived, and batches of the size of
    the largest uploaded one are drawn from all of them: what CycleSL does with each exchange. Each
    upload is stepped on once on trial before it is kept: in a batch of several clients, samples
    that leave no finite half cannot be traced to their client.

    Parameters
    ----------
    round_ : Round
        Its clients upload.
    server : OneServerHalf
        Takes the steps.
    pooled : bool
        Draw batches across clients.

    Raises
    ------
    ValueError
        Batches across clients are to have a weight for each client.
    """

    def __init__(self, round_: Round, server: OneServerHalf, *, pooled: bool) -> None:
        late = round_.asynchrony
        problem = None if late is None or not pooled else late.options.problem_in_a_pool()
        if problem is not None:
            raise ValueError(problem)
        self._round, self._server, self._pooled = round_, server, pooled
        self._files: dict[int, TensorFile] = {}
        self._samples: dict[int, int] = {}
        self._batch_size = 0

    def add(self, client: int, reply: TrainReply) -> None:
        """Step on the upload in a client's last reply, or keep it for :meth:`finish`.

        Raises
        ------
        RefusedWorkError
            As of :meth:`OneServerHalf.step`.
        """
        if not self._pooled:
            self._server.step_on_upload(self._round, client, reply)
        elif reply.smashed is not None:
            smashed = self._server.try_upload(self._round, client, reply)
            self._files[client] = self._server.files.write(named_tensors(smashed))
            self._samples[client] = len(smashed.labels)
            self._batch_size = max(self._batch_size, *smashed.batch_sizes)

    def finish(self) -> None:
        """Step on batches drawn across the kept uploads, ``server_steps`` passes.

        Raises
        ------
        DivergedError
            As of :meth:`OneServerHalf.step_on_pool`.
        """
        passes, samples = self._server.steps, dict(sorted(self._samples.items()))
        sources = {client: self._files[client] for client in samples}
        for k in range(passes if samples else 0):
            seed = derive_seed(self._server.task.seed, "uploads", self._round.number, k)
            batches = batches_across(sources, samples, self._batch_size, seed)
            start, length = k / passes, 1 / passes
            self._server.step_on_pool(self._round, batches, start=start, length=length)
