"""Tables of the experiments, in Markdown."""

import statistics
from collections.abc import Sequence


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table with one line per row."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def mean_sd(accuracies: Sequence[float]) -> str:
    """Returns mean and standard deviation of accuracies from 0 to 1, such as '97.20% ± 0.15'."""
    return f"{statistics.mean(accuracies):.2%} ± {100 * statistics.stdev(accuracies):.2f}"
