"""One package a science."""
