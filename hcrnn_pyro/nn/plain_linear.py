"""Whether the weight of a linear layer says all that the layer does, so that kernels may read it alone."""

from typing import Any

from torch import nn


def is_plain(layer: Any) -> bool:
    """True for a ``torch.nn.Linear`` itself without a bias, that nobody prunes, parametrizes or hooks into."""
    return type(layer) is nn.Linear and layer.bias is None and not layer._forward_hooks and not layer._forward_pre_hooks
