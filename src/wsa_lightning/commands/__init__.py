"""This project's own commands, one module each; they only join what the packages below compute."""
