"""Floor 5: what one asks of several runs or sizes; reads what runs left, never a model's inside."""
