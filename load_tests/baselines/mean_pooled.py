"""A classifier of transformers with the bundle's own head: the mean of all tokens, scaled to length 1, and a linear layer.

It is copied into model folders and imported by transformers from there, so it imports nothing of this repository.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import BertModel, BertPreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class MeanPooledForSequenceClassification(BertPreTrainedModel):  # type: ignore[no-untyped-call] # transformers leaves it untyped
    """Token ids (n, t) and mask (n, t) to logits (n, c)."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.bert = BertModel(config, add_pooling_layer=False)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()  # type: ignore[no-untyped-call] # likewise

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None, **_: Any
    ) -> SequenceClassifierOutput:
        """Return the logits."""
        states = self.bert(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        pooled = (states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1.0)
        return SequenceClassifierOutput(logits=self.classifier(nn.functional.normalize(pooled, dim=-1)))
