"""The way in: the command line, the local stack, and the files that watch it."""
