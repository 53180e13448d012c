"""From HTTP to an answer: batching, swapping, corrections, and the console.

Only ``replica``, ``service`` and ``ray_nodes`` know Ray.
"""
