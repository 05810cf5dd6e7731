"""The paper's table of results: percent, rank = 1 + items scored strictly higher, no item filtered out.

Source: Song, Ji, Park, Moon, "Hierarchical Context enabled Recurrent Neural Network for Recommendation", AAAI 2019.
The Item-KNN rows cannot be right: with R@3 = 0 no rank is better than 4, so MRR@20 is at most R@20 / 4.
"""

METRICS = ("recall@3", "recall@20", "mrr@3", "mrr@20")

_ROWS: dict[str, dict[str, tuple[float, float, float, float]]] = {
    "citeulike": {
        "POP": (1.44, 5.78, 0.92, 1.44),
        "S-POP": (1.26, 4.99, 0.79, 1.23),
        "Item-KNN": (0.00, 6.90, 0.00, 4.79),
        "BPR-MF": (0.49, 3.15, 0.27, 0.60),
        "LSTM4REC": (7.07, 23.33, 4.93, 6.82),
        "GRU4REC": (8.37, 24.19, 5.98, 7.86),
        "NARM": (7.81, 24.82, 5.40, 7.41),
        "STAMP": (5.09, 21.93, 3.25, 5.22),
        "HCRNN-1": (8.60, 25.36, 6.18, 8.16),
        "HCRNN-2": (8.83, 25.10, 6.41, 8.38),
        "HCRNN-3": (9.21, 25.42, 6.65, 8.61),
        "HCRNN-3+Bi": (9.33, 25.81, 6.74, 8.70),
    },
    "lastfm": {
        "POP": (0.37, 1.99, 0.34, 0.51),
        "S-POP": (0.87, 3.65, 0.55, 0.87),
        "Item-KNN": (0.00, 11.59, 0.00, 8.00),
        "BPR-MF": (0.82, 2.15, 0.59, 0.73),
        "LSTM4REC": (15.29, 24.75, 12.68, 13.95),
        "GRU4REC": (18.29, 26.46, 15.85, 16.95),
        "NARM": (18.30, 33.60, 13.12, 15.25),
        "STAMP": (9.29, 19.84, 6.62, 8.01),
        "HCRNN-1": (20.67, 34.40, 15.77, 17.68),
        "HCRNN-2": (20.78, 34.14, 16.20, 18.08),
        "HCRNN-3": (21.39, 34.72, 16.66, 18.52),
        "HCRNN-3+Bi": (21.90, 34.80, 17.33, 19.12),
    },
    "movielens": {
        "POP": (2.43, 12.51, 1.54, 2.65),
        "S-POP": (2.27, 12.23, 1.42, 2.52),
        "Item-KNN": (0.00, 6.32, 0.00, 4.28),
        "BPR-MF": (1.69, 8.93, 1.07, 1.91),
        "LSTM4REC": (8.52, 32.80, 5.63, 8.45),
        "GRU4REC": (8.50, 32.74, 5.60, 8.42),
        "NARM": (9.14, 33.42, 6.09, 8.93),
        "STAMP": (3.95, 20.52, 2.65, 4.47),
        "HCRNN-1": (9.23, 33.78, 6.13, 9.00),
        "HCRNN-2": (9.22, 33.76, 6.14, 9.01),
        "HCRNN-3": (9.38, 33.67, 6.23, 9.08),
        "HCRNN-3+Bi": (9.53, 33.83, 6.38, 9.21),
    },
}

PAPER_NAMES = {
    "pop": "POP",
    "s-pop": "S-POP",
    "item-knn": "Item-KNN",
    "bpr-mf": "BPR-MF",
    "lstm4rec": "LSTM4REC",
    "gru4rec": "GRU4REC",
    "narm": "NARM",
    "stamp": "STAMP",
    "hcrnn1": "HCRNN-1",
    "hcrnn2": "HCRNN-2",
    "hcrnn3": "HCRNN-3",
    "hcrnn3-bi": "HCRNN-3+Bi",
}
"""Our names of models -> the paper's."""

REMARKS = {
    "Item-KNN": "The published Item-KNN row is impossible: with R@3 = 0 no rank is better than 4, so MRR@20 is at most "
    "R@20 / 4."
}
"""What a reader should know of a published row; printed below it."""


def published_metrics(data: str, system: str) -> dict[str, float] | None:
    """The published row of a system, e.g. ``("citeulike", "NARM")``; ``None`` where the paper has none."""
    row = _ROWS.get(data, {}).get(system)
    return dict(zip(METRICS, row, strict=True)) if row else None
