"""How often a row is drawn in training: a share for each kind of label, within it for each corpus, within it by length.

Conventions: a weight is the probability of a row among those of its split, so weights sum to 1. Drawn by minutes, the
largest corpus dominates the training; with equal shares, a corpus of ten songs is repeated until it is overfitted.
Tempering is a compromise: a group's share is proportional to its minutes to the power of `tempering`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from ..errors import MajlError
from ..system.settings import Section
from .index import RowRef

Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class SamplingConfig(Section):
    """Shares of the groups of a combined corpus.

    Args:
        kind_shares: label kind -> share, of any sum; only those that occur count. None: by tempered minutes.
        corpus_shares: corpus -> share among the corpora of its label kind. None: by tempered minutes.
        tempering: in [0, 1]; 1 draws every minute equally often, 0 every group.
    """

    kind_shares: dict[str, Share] | None = None
    corpus_shares: dict[str, Share] | None = None
    tempering: float = Field(default=0.5, ge=0, le=1)


def sampling_weights(rows: Sequence[RowRef], config: SamplingConfig | None = None) -> np.ndarray:
    """Probability of each of the rows of one split.

    Args:
        config: shares; None for the defaults.

    Returns:
        float64 array of shape (num_rows,), its sum 1; empty for no rows.

    Raises:
        MajlError: a duration that is not above 0, a label kind or corpus without a share in the config, shares that
            are all 0.
    """
    config = config or SamplingConfig()
    if not rows:
        return np.zeros(0)
    if bad := [row for row in rows if not 0 < row.duration_s < np.inf]:
        raise MajlError(f"Row {bad[0].id} lasts {bad[0].duration_s} s; a duration above 0 is needed for its weight.")
    durations, weights = np.array([row.duration_s for row in rows]), np.zeros(len(rows))
    kinds, names = (np.array([getattr(row, name) for row in rows], object) for name in ("label_kind", "corpus"))
    kind_shares = _shares(kinds, durations, config.kind_shares, config.tempering, "label kind")
    for kind, kind_share in kind_shares.items():
        if kind_share == 0:
            continue
        of_kind = kinds == kind
        corpus_shares = _shares(
            names[of_kind], durations[of_kind], config.corpus_shares, config.tempering, f"corpus of kind {kind!r}"
        )
        for corpus, corpus_share in corpus_shares.items():
            rows = of_kind & (names == corpus)
            weights[rows] = kind_share * corpus_share * durations[rows] / durations[rows].sum()
    return weights / weights.sum()


def _shares(
    groups: np.ndarray, durations: np.ndarray, given: Mapping[str, float] | None, tempering: float, what: str
) -> dict[str, float]:
    """Share of each group, in order of name; their sum is 1."""
    present = sorted(set(groups))
    if given is None:
        shares = {group: durations[groups == group].sum() ** tempering for group in present}
    else:
        if missing := [group for group in present if group not in given]:
            raise MajlError(
                f"No share is given for the {what} {missing}; shares are given for {sorted(given)}. Add it, with 0 to "
                "leave its rows out."
            )
        shares = {group: given[group] for group in present}
    total = sum(shares.values())
    if total == 0:
        raise MajlError(f"The share of every {what} that occurs ({present}) is 0. Give at least one above 0.")
    return {group: float(share / total) for group, share in shares.items()}
