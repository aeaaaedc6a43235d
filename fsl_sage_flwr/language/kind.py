"""Causal language models as a task of the run configuration."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from ..config import one_of
from ..data import DISTRIBUTIONS, DataIdentity, identity_of_texts
from ..models import MODELS
from ..seeding import derive_seed
from ..task import ClientIdentity, SplitTask
from ..task_registry import TaskKind, TaskSettings, TestBatches
from .adapter_files import load_adapted, save_adapter
from .causal_lm import EVALUATION_BATCH, causal_lm_task
from .dataset import BY_LENGTH, load_texts, own_rows, partition_rows, split_of, train_holdout_split
from .generation import bleu_of, scorer
from .options import CausalLmOptions
from .pretrained import LanguageModelError, load_model, load_tokenizer, refuse_no_block
from .rows import Row, Rows, refuse_long_prompts, tokenize


def build(settings: TaskSettings, options: CausalLmOptions) -> SplitTask:
    """Build the task; pretrained weights are loaded, never sent.

    Raises
    ------
    LanguageModelError, DatasetError, SplitError
        The model, the data or the cut cannot be used.
    """
    if settings.heads.auxiliary == "linear":
        raise LanguageModelError(
            "auxiliary.head = 'linear': a language model's head is made of blocks; leave it out"
        )
    if settings.heads.auxiliary == "blocks":
        raise LanguageModelError(
            "auxiliary.head = 'blocks': auxiliary.blocks sets the number of blocks of a language "
            "model's head; leave auxiliary.head out"
        )
    _check_cut(settings)
    rows: Rows
    validation: Rows
    if settings.data_path is None:
        given = split_of(settings.dataset, options.columns(), "train")
        rows, validation = partition_rows(
            given, settings.distribution, settings.validation_fraction
        )
    else:
        given = own_rows(settings.data_path, options.columns())
        seed = derive_seed(settings.distribution.seed, "validation")
        ours, theirs = train_holdout_split(given, settings.validation_fraction, seed)
        rows, validation = partial(_whole, ours), partial(_whole, theirs)
    tokenizer = load_tokenizer(settings.model)
    if settings.prove or settings.data_path is not None:
        what = settings.data_path or settings.dataset
        refuse_long_prompts(given, tokenizer, options.max_length, f"the training split of {what!r}")
    first = settings.cut.rpartition(".")[2]
    only = int(first) + max(1, options.head_blocks) if first.isdigit() else None
    model = load_model(
        settings.model,
        options.lora(),
        derive_seed(settings.seed, "model"),
        blocks=only if settings.client_half_only else None,
    )
    return causal_lm_task(
        model,
        tokenizer,
        cut=settings.cut,
        tail=settings.tail,
        rows=rows,
        validation_rows=validation if settings.validation_fraction else None,
        max_length=options.max_length,
        head_blocks=options.head_blocks,
        auxiliary_from_server=settings.heads.auxiliary_init == "server",
        label_smoothing=options.label_smoothing,
        prove=settings.prove,
        **settings.training,
    )


def _check_cut(settings: TaskSettings) -> None:
    if settings.cut in ("", "auto"):
        raise LanguageModelError(
            f"cut = {settings.cut!r}: name the first block of the server half, e.g. cut=layers.3"
        )


def _whole(rows: Sequence[Row], client: ClientIdentity) -> Sequence[Row]:
    """Return all of a node's own rows for its client."""
    return rows


def check(settings: TaskSettings, options: CausalLmOptions, clients: int) -> None:
    """Check that local directories hold a model and rows, and that the cut fits the model."""
    _check_cut(settings)
    if Path(settings.model).is_absolute():
        refuse_no_block(settings.model, settings.cut)
    if Path(settings.dataset).is_absolute():
        rows = split_of(settings.dataset, options.columns(), "train")
        split_of(settings.dataset, options.columns(), "test")
        of_client, _ = partition_rows(rows, settings.distribution, settings.validation_fraction)
        of_client(ClientIdentity(0, clients))
        if any(Path(settings.model).glob("tokenizer*")):
            refuse_long_prompts(
                rows,
                load_tokenizer(settings.model),
                options.max_length,
                f"the training split of {settings.dataset!r}",
            )


def identify(
    settings: TaskSettings, options: CausalLmOptions, download: bool
) -> DataIdentity | None:
    """Return the identity of both splits; None for a dataset on the hub."""
    if not (download or Path(settings.dataset).is_absolute()):
        return None
    columns = load_texts(settings.dataset, options.columns()).columns
    taken = {"data.prompt-column": columns.prompt, "data.completion-column": columns.completion}
    given = {
        "data.prompt-column": options.prompt_column,
        "data.completion-column": options.completion_column,
    }
    found = [key for key in taken if not given[key]]
    splits = {
        split: split_of(settings.dataset, options.columns(), split) for split in ("train", "test")
    }
    return identity_of_texts(splits, taken, found)


def test_batches(settings: TaskSettings, options: CausalLmOptions) -> TestBatches:
    """Return a function that iterates over the test split."""
    if options.bleu:
        scorer()  # fail now, not after the last round
    rows = split_of(settings.dataset, options.columns(), "test")
    chosen = rows[: options.max_test_rows or None]
    tokens = tokenize(chosen, load_tokenizer(settings.model), options.max_length, settings.device)
    return lambda: tokens.in_order(EVALUATION_BATCH)


def finish(
    settings: TaskSettings,
    options: CausalLmOptions,
    weights: Mapping[str, Tensor],
    directory: Path,
) -> Mapping[str, float]:
    """Write the adapter in PEFT's format; return the BLEU if it is enabled."""
    save_adapter(settings.model, options.lora(), weights, directory)
    if not options.bleu:
        return {}
    model, tokenizer = load_adapted(settings.model, directory)
    rows = split_of(settings.dataset, options.columns(), "test")
    prompts = dict.fromkeys(row.prompt for row in rows[: options.max_test_rows or None])
    chosen = [row for row in rows if row.prompt in prompts]
    model.to(settings.device)
    bleu = bleu_of(model, tokenizer, chosen, max_new_tokens=options.max_new_tokens)
    return {"bleu": bleu}


def _model(value: Any) -> str | None:
    if value and value not in MODELS:
        return None
    return "the name of a causal language model on the hub, or the path of its directory, is needed"


def _dataset(value: Any) -> str | None:
    if value and value != "digits":
        return None
    return "e2e_nlg, the absolute path of a directory, or a dataset's name on the hub is needed"


KIND = TaskKind(
    name="causal_lm",
    options=CausalLmOptions,
    build=build,
    test_batches=test_batches,
    check=check,
    checks={
        "model": _model,
        "dataset": _dataset,
        "distribution": lambda value: one_of([*DISTRIBUTIONS, BY_LENGTH])(value),
    },
    evaluation_batch=EVALUATION_BATCH,
    finish=finish,
    identify=identify,
)
