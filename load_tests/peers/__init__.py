"""What users would pick instead of Hone: the same bundle behind each of them, in an environment of its own."""
