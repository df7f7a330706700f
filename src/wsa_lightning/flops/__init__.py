"""What a Roformer costs; see docs/flops.md.

FLOPs are 2 x multiply-accumulates. Matrix products count: linear layers, and attention's QK^T and PV over
the pairs the mask allows, whatever a backend computes besides. Norms, softmax, rotary embedding, activations
and gates count 0, as in the literature. The STFT and its inverse are reported separately.

``count`` traces the model with fvcore; ``closed_form`` gives the same numbers by arithmetic.
"""

from wsa_lightning.flops.arithmetic import closed_form
from wsa_lightning.flops.counting import count
from wsa_lightning.flops.flop_report import FlopReport, Uncounted

__all__ = ["FlopReport", "Uncounted", "closed_form", "count"]
