"""From HTTP to an answer: batching, swapping, corrections, and the console. Only ``replica`` and ``service`` know Ray."""
