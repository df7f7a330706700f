"""Realistic songs for training: composed by rules, played by sampled instruments, sung by resynthesized speech."""
