"""Any timm model by name, or one of our own, with fresh or loaded weights, frozen in part or adapted.

Importing this package loads neither torch nor timm; its functions do.
"""

from __future__ import annotations

from grng.models.build import create_model
from grng.models.names import check_model_kwargs, check_model_name, list_models, pretrained_name
from grng.models.prepare import PreparedModel, prepare_model

__all__ = [
    "PreparedModel",
    "check_model_kwargs",
    "check_model_name",
    "create_model",
    "list_models",
    "prepare_model",
    "pretrained_name",
]
