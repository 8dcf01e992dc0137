"""The four ways of training, and the words each one's YAML uses for the same things."""
