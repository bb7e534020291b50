"""A configuration and its graphs that work as they stand: what `countersign init` writes and `make serve` serves.

The graphs know nothing of Countersign, and nothing else here imports them.
"""
