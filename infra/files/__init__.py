"""Files: uploads kept under their hash, the operator's own found safely, what a training left recognised."""
