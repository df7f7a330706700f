"""Windowed sink attention for music source separation: teachers, students, distillation, honest counts."""

__version__ = "0.1.0"
