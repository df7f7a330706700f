"""One callback a file: distillation, averaging, FLOPs, listening, the closing table."""
