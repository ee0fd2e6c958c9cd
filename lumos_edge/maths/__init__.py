"""Exact arithmetic and algebra over formulas."""
