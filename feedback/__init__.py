"""The store of record: what was predicted, what people said about it, what was learned from it."""
