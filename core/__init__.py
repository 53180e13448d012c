"""The nouns every room shares. Knows neither Ray nor the web; see docs/architecture.md for the import rule."""

import os

# ONNX Runtime's official builds report their use to Microsoft, and keep an identifier in the user's home folder, unless this is
# set before the library is first loaded. Here, because no room loads it without loading this package.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
