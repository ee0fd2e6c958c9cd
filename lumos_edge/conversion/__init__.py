"""Trained weights become GGUF files: read and written a few rows at a time, without torch."""
