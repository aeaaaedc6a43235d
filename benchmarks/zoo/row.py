"""Declare the results of one cut of one model: a row of the CSV."""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Row:
    """One cut of one model.

    Attributes
    ----------
    library, model, cut : str
        What was cut where.
    verdict : str
        ``proven``; ``refused``, with a reason; or ``error``: another exception than SplitError.
    way : str
        ``traced`` or ``replayed``.
    reason : str
        Of a refusal, one line.
    crosses : str
        Types and shapes of one sample's smashed data.
    step_ms, split_ms : float
        Time of a training step of the uncut model (median of three), and of ``split``.
    step_mib, split_mib : float
        Peak of tensors above the model.
    fsl_sage, cse_fsl, split_fed_v1 : str
        ``trains``, or what was wrong; only of the model's trained cut.
    parity : str
        ``equal`` if SplitFed V1 ends with the weights of FedAvg of the uncut model, bit for bit;
        otherwise the largest difference of a weight.
    """

    library: str
    model: str
    cut: str
    verdict: str
    way: str = ""
    reason: str = ""
    crosses: str = ""
    step_ms: float = 0.0
    split_ms: float = 0.0
    step_mib: float = 0.0
    split_mib: float = 0.0
    fsl_sage: str = ""
    cse_fsl: str = ""
    split_fed_v1: str = ""
    parity: str = ""


COLUMNS = [field.name for field in fields(Row)]
