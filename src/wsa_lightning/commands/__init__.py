"""The roof's own commands, one file each; arithmetic lives in the rooms below."""
