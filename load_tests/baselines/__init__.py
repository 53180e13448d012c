"""Servers to compare with, each as its kind of author would write it; they share no code with the product."""
