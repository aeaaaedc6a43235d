"""What a client keeps between messages."""

from flwr.app import ArrayRecord, ConfigRecord, Context
from torch import Tensor

from ..tensor_store import SUFFIX, TensorFile, write_tensors
from .client_folder import ClientFolder, is_named

# Bytes of a node's state in Flower's context: where nobody named a folder for files, and where
# somebody did. In a simulation a state costs 8 ms for each MB with every message, and memory.
LARGEST_IN_CONTEXT = 50 * 1024**2
LARGEST_BESIDE_FILES = 1024**2


class ClientState:
    """Named groups of tensors of one node, in ``context.state`` or in a file.

    In deployment Flower silently loses a ``context.state`` of 100 MB and more. A group
    that would take the state over 50 MB is written to a file of this node instead, in
    ``~/.cache/fsl-sage-flwr``; the state then says so, and a file that has gone is noticed.
    Where ``$FSL_SAGE_CACHE`` names a folder files are there, and of groups that would take the
    state over 1 MB: ``fsl-sage run`` gives a simulation's clients such a folder.

    Parameters
    ----------
    context : Context
        Flower's Context of the message at hand.
    """

    def __init__(self, context: Context) -> None:
        self._state, self._folder = context.state, ClientFolder(context)
        self._largest = LARGEST_BESIDE_FILES if is_named() else LARGEST_IN_CONTEXT

    def save(self, name: str, tensors: dict[str, Tensor], version: int = 0) -> None:
        """Keep tensors under a name; they replace what was kept under it."""
        self._state.pop(name, None)
        others = sum(r.count_bytes() for r in self._state.array_records.values())
        if others + sum(t.numel() * t.element_size() for t in tensors.values()) > self._largest:
            self.save_file(name, tensors, version)
            return
        self._state[name] = ArrayRecord(dict(tensors))
        self._state[f"{name}-info"] = ConfigRecord({"version": version, "in-file": False})

    def save_file(self, name: str, tensors: dict[str, Tensor], version: int = 0) -> None:
        """Keep tensors in a file in any case: for what every message changes.

        ``context.state`` costs 8 ms per MB and message, a file a fraction of it.
        """
        self._state.pop(name, None)
        self._folder.write(_file(name), lambda path: write_tensors(path, tensors))
        self._state[f"{name}-info"] = ConfigRecord({"version": version, "in-file": True})

    def load(self, name: str, version: int = 0) -> dict[str, Tensor] | None:
        """Return the tensors kept under a name; None when that version is not there."""
        info = self._state.config_records.get(f"{name}-info")
        if info is None or info["version"] != version:
            return None
        if info["in-file"]:
            file = TensorFile(self._folder.path(_file(name)))
            return file.load() if file.path.is_file() else None
        return dict(self._state.array_records[name].to_torch_state_dict())

    def drop(self, name: str) -> None:
        """Forget what is kept under a name."""
        self._state.pop(name, None)
        self._state.pop(f"{name}-info", None)
        self._folder.path(_file(name)).unlink(missing_ok=True)


def _file(name: str) -> str:
    return f"{name}{SUFFIX}"
