"""A loss term with a parameter: the Huber distance of the audio."""

import torch.nn.functional as F
from torch import Tensor

from wsa_lightning.losses import Estimate, loss_term


@loss_term("audio/huber")
def audio_huber(estimate: Estimate, *, delta: float = 1.0) -> Tensor:
    """Quadratic below ``delta``, linear above."""
    return F.huber_loss(estimate.audio.float(), estimate.target.float(), delta=delta)
