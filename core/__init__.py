"""The nouns every room shares. Knows neither Ray nor the web; see docs/architecture.md for the import rule."""
