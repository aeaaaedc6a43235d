"""Store a client's tensors between messages."""

from flwr.app import ArrayRecord, ConfigRecord, Context
from torch import Tensor

from ..tensor_store import SUFFIX, TensorFile, write_tensors
from .client_folder import ClientFolder, is_named

# Largest state of a node in Flower's context, in bytes, without and with a configured folder for
# files. In a simulation the state costs memory, and 8 ms per MB and message.
LARGEST_IN_CONTEXT = 50 * 1024**2
LARGEST_BESIDE_FILES = 1024**2


class ClientState:
    """Named groups of tensors of one node, in ``context.state`` or in a file.

    A deployment's Flower silently loses a ``context.state`` of 100 MB or more. A group that would
    take the state over 50 MB is written to a file in ``~/.cache/fsl-sage-flwr``; the state
    records this, so a lost file is noticed. If ``$FSL_SAGE_CACHE`` names a folder, files are
    there, and the limit is 1 MB: ``fsl-sage run`` sets such a folder for a simulation's clients.

    Parameters
    ----------
    context : Context
        Flower's Context of the current message.
    """

    def __init__(self, context: Context) -> None:
        self._state, self._folder = context.state, ClientFolder(context)
        self._largest = LARGEST_BESIDE_FILES if is_named() else LARGEST_IN_CONTEXT

    def save(self, name: str, tensors: dict[str, Tensor], version: int = 0) -> None:
        """Save tensors under a name, replacing older ones."""
        self._state.pop(name, None)
        others = sum(r.count_bytes() for r in self._state.array_records.values())
        if others + sum(t.numel() * t.element_size() for t in tensors.values()) > self._largest:
            self.save_file(name, tensors, version)
            return
        self._state[name] = ArrayRecord(dict(tensors))
        self._state[f"{name}-info"] = ConfigRecord({"version": version, "in-file": False})

    def save_file(self, name: str, tensors: dict[str, Tensor], version: int = 0) -> None:
        """Save tensors in a file regardless of their size, for state that every message changes.

        ``context.state`` costs 8 ms per MB and message, a file a fraction of it.
        """
        self._state.pop(name, None)
        self._folder.write(_file(name), lambda path: write_tensors(path, tensors))
        self._state[f"{name}-info"] = ConfigRecord({"version": version, "in-file": True})

    def load(self, name: str, version: int = 0) -> dict[str, Tensor] | None:
        """Return the tensors saved under a name, or None if this version is missing."""
        info = self._state.config_records.get(f"{name}-info")
        if info is None or info["version"] != version:
            return None
        if info["in-file"]:
            file = TensorFile(self._folder.path(_file(name)))
            return file.load() if file.path.is_file() else None
        return dict(self._state.array_records[name].to_torch_state_dict())

    def drop(self, name: str) -> None:
        """Remove the tensors saved under a name."""
        self._state.pop(name, None)
        self._state.pop(f"{name}-info", None)
        self._folder.path(_file(name)).unlink(missing_ok=True)


def _file(name: str) -> str:
    return f"{name}{SUFFIX}"
